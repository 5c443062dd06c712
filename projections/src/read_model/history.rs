//! What a read model declares of its past.
//!
//! One rule: it is a declaration only; [`super::history_writer`] keeps the past and [`crate::history`] asks for it.

/// What a read model keeps of its past.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// The first [`ReadModel::VERSION`] that keeps it. Tables that an earlier build folded know no past
    /// until they are folded anew.
    pub since: i32,
    /// The table of versions.
    pub table: &'static str,
    /// What is kept apart.
    pub dense: Option<Dense>,
}

/// Columns that change far more often than the others, say with each report of a job's progress. Their
/// versions are kept apart, so that a change of one of them does not store the whole row again. The past can
/// be *searched* by the other columns only.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
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
            dense: None,
        }
    }

    /// With these columns kept apart.
    #[must_use]
    pub const fn dense(self, table: &'static str, columns: &'static [&'static str]) -> Self {
        Self {
            dense: Some(Dense { table, columns }),
            ..self
        }
    }

    /// The tables that hold the past.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.table).chain(self.dense.map(|dense| dense.table))
    }
}
