//! What a read model declares of its past.
//!
//! One rule: it is a declaration only; [`super::history_writer`] keeps the past and [`crate::history`] asks for it.

/// How a read model keeps its history.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// The first [`ReadModel::VERSION`] that keeps it. Tables that an earlier build folded know no past
    /// until they are folded anew.
    pub since: i32,
    /// The table of versions.
    pub table: &'static str,
    /// Columns that change often, kept in a table of their own.
    pub hot: Option<HotColumns>,
}

/// Columns that change far more often than the others, say with each report of a job's progress. Their
/// versions are kept apart, so that a change of one of them does not store the whole row again. The past can
/// be *searched* by the other columns only.
#[derive(Clone, Copy, Debug)]
pub struct HotColumns {
    /// The table of their versions.
    pub table: &'static str,
    /// Their names.
    pub columns: &'static [&'static str],
}

impl History {
    /// In this table, from that version of the fold on.
    #[must_use]
    pub const fn since(version: i32, table: &'static str) -> Self {
        Self {
            since: version,
            table,
            hot: None,
        }
    }

    /// With these hot columns in a table of their own.
    #[must_use]
    pub const fn hot_columns(self, table: &'static str, columns: &'static [&'static str]) -> Self {
        Self {
            hot: Some(HotColumns { table, columns }),
            ..self
        }
    }

    /// The tables that hold the past.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.table).chain(self.hot.map(|hot| hot.table))
    }
}
