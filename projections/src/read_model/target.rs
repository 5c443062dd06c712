//! Which physical table a projection writes.
//!
//! The rule: the table that queries read has the name that the read model declares; its shadow, which is built
//! beside it to take its place, has that name and [`SHADOW`] behind it.

/// What the name of a shadow table ends with.
pub const SHADOW: &str = "__shadow";

/// The table of a read model that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The one that queries read.
    #[default]
    Live,
    /// The one that is being built beside it.
    Shadow,
}

impl Target {
    /// The name of `table` there.
    #[must_use]
    pub fn name(self, table: &str) -> String {
        match self {
            Self::Live => table.to_owned(),
            Self::Shadow => format!("{table}{SHADOW}"),
        }
    }
}
