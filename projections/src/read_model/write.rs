//! What a fold hands out to be written.
//!
//! One rule: each write carries its whole statement, so that whoever runs it needs to know no table.

/// Something to be written into a shadow table.
pub enum Write {
    /// Rows whose keys are not in the table.
    Copy {
        /// The statement.
        statement: String,
        /// The rows, as the statement takes them.
        lines: Vec<u8>,
    },
    /// Versions of rows, none of which is in the table.
    Versions {
        /// The statement, with one parameter.
        statement: String,
        /// The parameter.
        json: String,
    },
    /// Rows that may be in the table; it needs its key for that.
    Upsert {
        /// The table.
        table: String,
        /// The statement, with one parameter.
        statement: String,
        /// The parameter.
        json: String,
    },
}
