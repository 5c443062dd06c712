//! How a rebuilt read model differs from the live one.
//!
//! One rule: differences are counted without a bound and named up to a bound.

use domain::event_store::Position;
use serde::Serialize;

/// Rows that are named at most.
const EXAMPLES: usize = 20;

/// A row in which the tables differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Difference {
    /// The fold has it, the live table does not.
    Missing {
        /// The table.
        table: &'static str,
        /// The row.
        key: String,
    },
    /// The live table has it, the fold does not.
    Surplus {
        /// The table.
        table: &'static str,
        /// The row.
        key: String,
    },
    /// Both have it, with other values.
    Different {
        /// The table.
        table: &'static str,
        /// The row.
        key: String,
        /// The columns in which they differ.
        columns: Vec<String>,
    },
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The position at which both were.
    pub position: Position,
    /// Rows that are the same, bit for bit.
    pub same: u64,
    /// Rows that the live table lacks.
    pub missing: u64,
    /// Rows that the live table should not have.
    pub surplus: u64,
    /// Rows with other values.
    pub different: u64,
    /// The first of those, by key.
    pub examples: Vec<Difference>,
}

impl Comparison {
    /// Whether the live table is exactly what the log says.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing + self.surplus + self.different == 0
    }

    pub(super) fn note(&mut self, difference: Difference) {
        match difference {
            Difference::Missing { .. } => self.missing += 1,
            Difference::Surplus { .. } => self.surplus += 1,
            Difference::Different { .. } => self.different += 1,
        }
        if self.examples.len() < EXAMPLES {
            self.examples.push(difference);
        }
    }
}
