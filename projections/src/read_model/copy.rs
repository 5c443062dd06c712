//! Rows in the binary form of `COPY … FROM STDIN`.
//!
//! One rule: `COPY` converts nothing, so rows are written with the types of their columns (`tests/it/projections/columns.rs`).
//! Format: PostgreSQL, COPY, "Binary Format".

use super::{row::Tuple, write::Write};

/// Bytes that are sent at a time. Rows of any number stand in chunks of this size, so that none has to move as they grow.
const CHUNK: usize = 48 << 10;

/// Rows for one statement.
pub(super) struct Binary {
    chunks: Vec<Vec<u8>>,
    fields: [u8; 2],
    /// Bytes of the rows.
    length: usize,
}

/// The signature, no flags, and no extension of the header.
const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The number of fields of what is no row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

impl Binary {
    /// Of no rows, with so many fields.
    pub(super) fn of(fields: usize) -> Self {
        Self {
            chunks: Vec::new(),
            // A table has at most 1,600 columns.
            fields: i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes(),
            length: 0,
        }
    }

    /// Appends a row of these values, each after its length.
    pub(super) fn push(&mut self, values: &[&[u8]]) {
        let length = self.fields.len() + values.iter().map(|value| value.len()).sum::<usize>();
        let room = |chunk: &Vec<u8>| chunk.len() + length <= CHUNK;
        if !self.chunks.last().is_some_and(room) {
            let mut chunk = Vec::with_capacity(CHUNK.max(HEADER.len() + length));
            if self.chunks.is_empty() {
                chunk.extend_from_slice(&HEADER);
            }
            self.chunks.push(chunk);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.extend_from_slice(&self.fields);
            values.iter().for_each(|value| chunk.extend_from_slice(value));
        }
        self.length += length;
    }

    /// Bytes of the rows; 0 without any.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The rows as values.
    pub(super) fn tuples(&self) -> Vec<Tuple> {
        let mut tuples = Vec::new();
        for (place, chunk) in self.chunks.iter().enumerate() {
            let mut rest = chunk
                .get(if place == 0 { HEADER.len() } else { 0 }..)
                .unwrap_or_default();
            while let Some((fields, values)) = rest.split_first_chunk() {
                rest = values;
                let mut tuple = Tuple::default();
                for _ in 0..i16::from_be_bytes(*fields) {
                    let (value, after) = rest.split_at(value_length(rest));
                    tuple.field_of(value);
                    rest = after;
                }
                tuples.push(tuple);
            }
        }
        tuples
    }

    /// Forgets the rows.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.length = 0;
    }

    /// Hands out the rows, to be copied into these columns of `table`; nothing without rows.
    pub(super) fn take(&mut self, table: &str, columns: &str) -> Option<Write> {
        let mut rows = std::mem::take(&mut self.chunks);
        self.length = 0;
        rows.last_mut()?.extend_from_slice(&TRAILER);
        let statement = format!("copy {table} ({columns}) from stdin (format binary)");
        Some(Write::Copy { statement, rows })
    }
}

/// How long the first of `values` is, its length included. NULL has a length below 0, and no bytes.
fn value_length(values: &[u8]) -> usize {
    let length = values
        .first_chunk()
        .map_or(-1, |length| i32::from_be_bytes(*length));
    let length = size_of::<i32>() + usize::try_from(length).unwrap_or_default();
    length.min(values.len())
}

#[cfg(test)]
mod tests {
    use super::{super::row::Tuple, Binary, CHUNK, Write};

    fn taken(binary: &mut Binary) -> Option<(String, Vec<Vec<u8>>)> {
        match binary.take("t", "a, b, c")? {
            Write::Copy { statement, rows } => Some((statement, rows)),
            Write::Statement(_) => None,
        }
    }

    #[test]
    fn a_row_is_its_number_of_fields_and_each_after_its_length() {
        let mut tuple = Tuple::default();
        tuple.value(&7_i32);
        tuple.value(&None::<String>);
        tuple.value(&"ab".to_owned());
        let mut binary = Binary::of(3);
        binary.push(&[tuple.bytes()]);
        assert_eq!(binary.tuples(), [tuple]);
        let expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0\0\x02ab\xff\xff";
        let statement = "copy t (a, b, c) from stdin (format binary)".to_owned();
        assert_eq!(taken(&mut binary), Some((statement, vec![expected.to_vec()])));
        assert_eq!((binary.len(), taken(&mut binary)), (0, None), "it is empty again");
    }

    #[test]
    fn many_rows_stand_in_chunks_and_a_row_in_one_of_them() {
        let mut tuple = Tuple::default();
        let lengths = [CHUNK / 2, 1, CHUNK / 2, 3 * CHUNK, 5];
        let mut binary = Binary::of(1);
        for length in lengths {
            tuple.clear();
            tuple.value(&"x".repeat(length));
            binary.push(&[tuple.bytes()]);
        }
        let read = binary.tuples();
        let read = read.iter().map(|tuple| tuple.get(0).map(<[u8]>::len));
        assert_eq!(read.collect::<Vec<_>>(), lengths.map(Some));
        let (_, chunks) = taken(&mut binary).expect("rows");
        let whole = |rows: &[usize]| rows.iter().map(|row| row + 6).sum::<usize>();
        let expected = [
            19 + whole(&lengths[..2]),
            whole(&lengths[2..3]),
            whole(&lengths[3..4]),
            whole(&lengths[4..]) + 2,
        ];
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        assert_eq!(
            chunks.iter().filter(|chunk| chunk.starts_with(b"PGCOPY")).count(),
            1
        );
    }
}
