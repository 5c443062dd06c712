//! Rows as tuples of values.
//!
//! One rule: a row is encoded once, and parameters, `COPY` and the past take its values from there.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Row as _, ValueRef as _,
    postgres::{PgRow, PgValueFormat},
};

use super::{
    column::{ColumnValue, Kind},
    text::{as_stored, variant, without_nul},
};

/// Why a row does not fit its columns. What it holds is not quoted: it may be personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct RowError {
    /// The column.
    pub column: &'static str,
    /// What does not fit.
    pub reason: String,
}

impl RowError {
    fn new(column: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { column, reason }
    }

    fn json(column: &'static str, error: &serde_json::Error) -> Self {
        Self::new(
            column,
            format!("its JSON does not fit at character {}", error.column()),
        )
    }
}

/// A column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

impl RowColumn {
    /// A column of this name and type.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }
}

/// A row of a table: written down once, as a struct with `#[derive(Row)]`.
pub trait Row: Sized + Send + Sync + Unpin + 'static {
    /// Its columns.
    const COLUMNS: &'static [RowColumn];

    /// Appends one value for each of [`Row::COLUMNS`], in their order.
    ///
    /// # Errors
    /// When a value cannot be written.
    fn encode(&self, tuple: &mut Tuple) -> Result<(), RowError>;

    /// Reads one value for each of [`Row::COLUMNS`], in their order.
    ///
    /// # Errors
    /// When a value is not of the field's type.
    fn decode(values: &mut Values<'_>) -> Result<Self, RowError>;
}

/// The columns of `R` of the table that is called `alias`, as a select list.
#[must_use]
pub fn select_list<R: Row>(alias: &str) -> String {
    let each = R::COLUMNS.iter().map(|column| format!("{alias}.{}", column.name));
    each.collect::<Vec<_>>().join(", ")
}

/// The place of a column of `R`.
pub(super) fn place<R: Row>(name: &str) -> Option<usize> {
    R::COLUMNS.iter().position(|column| column.name == name)
}

/// Encoded values one after the other, each after its length in bytes; that of NULL is -1. So they stand in arrays and
/// in the binary form of `COPY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
}

/// What NULL has for a length.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

impl Tuple {
    /// The values of `row`.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn of<R: Row>(row: &R) -> Result<Self, RowError> {
        let mut tuple = Self::default();
        row.encode(&mut tuple)?;
        Ok(tuple)
    }

    /// Appends a value; `write` says whether it is one, or NULL.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&NULL);
        if write(&mut self.bytes) {
            let length = self.bytes.len() - begin - NULL.len();
            // PostgreSQL takes no value of more than a gigabyte, and none of these lengths.
            let length = i32::try_from(length).unwrap_or(i32::MAX);
            self.bytes[begin..begin + NULL.len()].copy_from_slice(&length.to_be_bytes());
        }
        self.ends.push(self.bytes.len());
    }

    /// Appends a value as its type is stored.
    pub fn value(&mut self, value: &impl ColumnValue) {
        self.push(|bytes| value.write(bytes));
    }

    /// Appends an enum by the name of its variant.
    ///
    /// # Errors
    /// When serde writes something else than one text.
    pub fn text(&mut self, column: &'static str, value: &impl Serialize) -> Result<(), RowError> {
        let name = variant(value).ok_or_else(|| RowError::new(column, "it is not one text"))?;
        self.push(|bytes| {
            bytes.extend_from_slice(as_stored(&name).as_bytes());
            true
        });
        Ok(())
    }

    /// Appends a value as `jsonb`.
    ///
    /// # Errors
    /// When serde cannot write it as JSON.
    pub fn json(&mut self, column: &'static str, value: &impl Serialize) -> Result<(), RowError> {
        let json = serde_json::to_string(value).map_err(|error| RowError::json(column, &error))?;
        self.push(|bytes| {
            bytes.push(JSONB);
            bytes.extend_from_slice(without_nul(&json).as_bytes());
            true
        });
        Ok(())
    }

    /// Appends a value by `write`, or NULL.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn optional<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        match value {
            Some(value) => write(self, value),
            None => {
                self.push(|_| false);
                Ok(())
            }
        }
    }

    /// Appends a value that is encoded after its length.
    pub(super) fn field_of(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(field);
        self.ends.push(self.bytes.len());
    }

    /// All of them, each after its length.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The values at `places`.
    pub(super) fn pick(&self, places: &[usize]) -> Self {
        let length = places.iter().map(|place| self.field(*place).len()).sum();
        let mut picked = Self {
            bytes: Vec::with_capacity(length),
            ends: Vec::with_capacity(places.len()),
        };
        for place in places {
            picked.field_of(self.field(*place));
        }
        picked
    }

    /// The value at `place` after its length; nothing where there is none.
    pub(super) fn field(&self, place: usize) -> &[u8] {
        let begin = match place.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or_default(),
            None => 0,
        };
        let end = self.ends.get(place).copied().unwrap_or(begin);
        self.bytes.get(begin..end).unwrap_or_default()
    }

    /// The value at `place`; `None` for NULL.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let (length, value) = self.field(place).split_at_checked(NULL.len())?;
        (length != NULL).then_some(value)
    }

    /// Forgets the values, and keeps the room for others.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The version of the binary form of `jsonb`, which stands before its text.
const JSONB: u8 = 1;

/// The values of a row, one after the other.
pub struct Values<'r> {
    of: Source<'r>,
    next: usize,
}

/// Where values are read from.
enum Source<'r> {
    Read(&'r PgRow),
    Encoded(&'r Tuple),
}

impl<'r> From<&'r Tuple> for Values<'r> {
    fn from(tuple: &'r Tuple) -> Self {
        Self {
            of: Source::Encoded(tuple),
            next: 0,
        }
    }
}

impl<'r> Values<'r> {
    /// Those from place `first` on.
    #[must_use]
    pub fn of(row: &'r PgRow, first: usize) -> Self {
        Self {
            of: Source::Read(row),
            next: first,
        }
    }

    /// The next one in binary form; `None` for NULL.
    fn next(&mut self, column: &'static str) -> Result<Option<&'r [u8]>, RowError> {
        let place = self.next;
        self.next += 1;
        let row = match self.of {
            Source::Read(row) => row,
            Source::Encoded(tuple) => return Ok(tuple.get(place)),
        };
        let raw = row.try_get_raw(place);
        let raw = raw.map_err(|_| RowError::new(column, "it was not read"))?;
        if raw.is_null() {
            return Ok(None);
        }
        match raw.format() {
            PgValueFormat::Binary => raw
                .as_bytes()
                .map(Some)
                .map_err(|_| RowError::new(column, "it was not read")),
            PgValueFormat::Text => Err(RowError::new(column, "it was read as text")),
        }
    }

    /// A value as its type is stored.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn value<T: ColumnValue>(&mut self, column: &'static str) -> Result<T, RowError> {
        match self.next(column)? {
            Some(value) => {
                T::read(value).map_err(|_| RowError::new(column, format!("it is no {}", T::KIND.name())))
            }
            None => T::null().ok_or_else(|| RowError::new(column, "it is NULL")),
        }
    }

    /// An enum by the name of its variant.
    ///
    /// # Errors
    /// When no variant has that name.
    pub fn text<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, RowError> {
        self.optional_text(column)?
            .ok_or_else(|| RowError::new(column, "it is NULL"))
    }

    /// As [`Values::text`], or NULL.
    ///
    /// # Errors
    /// When no variant has that name.
    pub fn optional_text<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, RowError> {
        let Some(text) = self.value::<Option<String>>(column)? else {
            return Ok(None);
        };
        let text = serde::de::value::StringDeserializer::<serde::de::value::Error>::new(text);
        let read = T::deserialize(text);
        read.map(Some)
            .map_err(|_| RowError::new(column, "it is none of the names"))
    }

    /// A value of `jsonb`.
    ///
    /// # Errors
    /// When it does not fit the type.
    pub fn json<T: DeserializeOwned>(&mut self, column: &'static str) -> Result<T, RowError> {
        self.optional_json(column)?
            .ok_or_else(|| RowError::new(column, "it is NULL"))
    }

    /// As [`Values::json`], or NULL.
    ///
    /// # Errors
    /// When it does not fit the type.
    pub fn optional_json<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, RowError> {
        match self.next(column)? {
            None => Ok(None),
            Some([JSONB, json @ ..]) => serde_json::from_slice(json)
                .map(Some)
                .map_err(|error| RowError::json(column, &error)),
            Some(_) => Err(RowError::new(column, "it is no jsonb")),
        }
    }
}
