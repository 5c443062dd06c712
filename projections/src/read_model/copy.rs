//! Rows as the text that `COPY … FROM STDIN` takes.
//!
//! The rule: a value arrives in its column exactly as it would through `jsonb_populate_recordset`, the way of
//! the live tables; a row for which that cannot be promised is refused, and goes that way instead.
//! Format: PostgreSQL, COPY, "Text Format".

use std::collections::HashSet;

use serde::{
    Serialize,
    ser::{Error as _, Impossible, SerializeStruct, Serializer},
};

use super::stored::{as_stored, without_nul};

/// What is known about the columns of a table.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Columns that hold JSON.
    pub json: HashSet<String>,
    /// Whether no column is an array or a composite: those have their own text format.
    pub plain: bool,
}

/// Rows that were written as text.
#[derive(Default)]
pub(super) struct Text {
    /// The columns, in the order of the text.
    pub(super) columns: Vec<&'static str>,
    /// One line per row.
    pub(super) lines: Vec<u8>,
    value: Vec<u8>,
}

impl Text {
    /// Adds a row.
    ///
    /// # Errors
    /// When this row cannot be copied; nothing of it stays.
    pub(super) fn push<R: Serialize>(&mut self, row: &R, shape: &Shape) -> Result<(), serde_json::Error> {
        let begun = self.lines.len();
        let first = self.columns.is_empty();
        let outcome = row.serialize(Line {
            text: self,
            shape,
            field: 0,
            first,
        });
        match &outcome {
            Ok(()) => self.lines.push(b'\n'),
            Err(_) => self.lines.truncate(begun),
        }
        outcome
    }

    fn value(&mut self, json_column: bool) -> Result<(), serde_json::Error> {
        match self.value.first() {
            Some(b'n') => self.lines.extend_from_slice(br"\N"),
            Some(b'"') if !json_column => {
                let plain = &self.value[1..self.value.len() - 1];
                if plain.contains(&b'\\') {
                    let text: String = serde_json::from_slice(&self.value)?;
                    escape(&mut self.lines, as_stored(&text).as_bytes());
                } else {
                    self.lines.extend_from_slice(plain);
                }
            }
            Some(b'{' | b'[') if !json_column => {
                return Err(serde_json::Error::custom("JSON in a column that holds none"));
            }
            _ => {
                let value =
                    String::from_utf8(std::mem::take(&mut self.value)).map_err(serde_json::Error::custom)?;
                let value = without_nul(value);
                escape(&mut self.lines, value.as_bytes());
                self.value = value.into_bytes();
            }
        }
        Ok(())
    }
}

/// Backslashes, tabs and line ends get a backslash.
fn escape(lines: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'\\' => lines.extend_from_slice(br"\\"),
            b'\n' => lines.extend_from_slice(br"\n"),
            b'\r' => lines.extend_from_slice(br"\r"),
            b'\t' => lines.extend_from_slice(br"\t"),
            other => lines.push(*other),
        }
    }
}

/// Writes the fields of one struct as one line.
struct Line<'a> {
    text: &'a mut Text,
    shape: &'a Shape,
    field: usize,
    first: bool,
}

impl SerializeStruct for Line<'_> {
    type Ok = ();
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        if self.first {
            self.text.columns.push(name);
        } else if self.text.columns.get(self.field) != Some(&name) {
            return Err(serde_json::Error::custom("rows with different fields"));
        }
        if self.field > 0 {
            self.text.lines.push(b'\t');
        }
        self.field += 1;
        self.text.value.clear();
        serde_json::to_writer(&mut self.text.value, value)?;
        self.text.value(self.shape.json.contains(name))
    }

    fn end(self) -> Result<(), Self::Error> {
        match self.field == self.text.columns.len() {
            true => Ok(()),
            false => Err(serde_json::Error::custom("rows with different fields")),
        }
    }
}

/// Everything but a struct is no row.
macro_rules! no_row {
    ($($method:ident($($kind:ty),*) -> $answer:ty;)*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<$answer, Self::Error> {
            Err(serde_json::Error::custom("a row is a struct"))
        })*
    };
}

type Never = Impossible<(), serde_json::Error>;

impl<'a> Serializer for Line<'a> {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Line<'a>;
    type SerializeStructVariant = Never;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Self::Error> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Self::Error> {
        Err(serde_json::Error::custom("a row is a struct"))
    }

    no_row! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::{Shape, Text};

    #[derive(Serialize)]
    struct Row {
        id: String,
        count: Option<i32>,
        data: Value,
    }

    fn shape() -> Shape {
        Shape {
            json: ["data".to_owned()].into(),
            plain: true,
        }
    }

    #[test]
    fn values_are_written_as_copy_reads_them() {
        let mut text = Text::default();
        let row = Row {
            id: "tab\there \"quoted\" back\\slash\nline \u{0}".to_owned(),
            count: None,
            data: json!({ "text": "a\nb\u{0}" }),
        };
        text.push(&row, &shape()).expect("a struct");
        assert_eq!(text.columns, ["id", "count", "data"]);
        assert_eq!(
            String::from_utf8(text.lines).expect("text"),
            "tab\\there \"quoted\" back\\\\slash\\nline \u{fffd}\t\\N\t{\"text\":\"a\\\\nb\\\\ufffd\"}\n"
        );
    }

    #[test]
    fn a_row_that_cannot_be_copied_leaves_nothing_behind() {
        let mut text = Text::default();
        let row = Row {
            id: "1".to_owned(),
            count: Some(1),
            data: json!({}),
        };
        let plain = Shape::default();
        text.push(&row, &plain).expect_err("JSON in a column of text");
        assert!(text.lines.is_empty());
        text.push(&json!(1), &plain).expect_err("no struct");
    }
}
