//! Rows in the binary form of `COPY … FROM STDIN`.
//!
//! One rule: `COPY` converts nothing, so rows are written with the types of their columns (`tests/it/projections/columns.rs`).
//! Format: PostgreSQL, COPY, "Binary Format".

/// Rows for one statement.
pub(super) struct Binary {
    bytes: Vec<u8>,
    fields: [u8; 2],
}

/// The signature, no flags, and no extension of the header.
const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The number of fields of what is no row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

impl Binary {
    /// Of no rows, with so many fields.
    pub(super) fn of(fields: usize) -> Self {
        Self {
            bytes: HEADER.to_vec(),
            // A table has at most 1,600 columns.
            fields: i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes(),
        }
    }

    /// Appends a row of these values, each after its length.
    pub(super) fn push(&mut self, values: &[&[u8]]) {
        self.bytes.extend_from_slice(&self.fields);
        for value in values {
            self.bytes.extend_from_slice(value);
        }
    }

    /// How long it is, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&TRAILER);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{super::row::Tuple, Binary};

    #[test]
    fn a_row_is_its_number_of_fields_and_each_after_its_length() {
        let mut tuple = Tuple::default();
        tuple.value(&7_i32);
        tuple.value(&None::<String>);
        tuple.value(&"ab".to_owned());
        let mut binary = Binary::of(3);
        binary.push(&[tuple.bytes()]);
        let expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0\0\x02ab\xff\xff";
        assert_eq!(binary.finish(), expected);
    }
}
