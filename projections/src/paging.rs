//! Pages of rows, by keyset: cursors stay right while rows come and go.

/// A column that lists can be filtered or ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type, as PostgreSQL names it.
    pub kind: &'static str,
}

impl Column {
    /// A column of this name and type.
    #[must_use]
    pub const fn new(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind }
    }

    /// Whether the database reads `value` as one of this column. Cursors come from clients, so what they hold is
    /// checked before it gets into a statement. Types that no list is ordered by have no values.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        match self.kind {
            "text" => !value.contains('\0'),
            "integer" => value.parse::<i32>().is_ok(),
            "bigint" => value.parse::<i64>().is_ok(),
            _ => false,
        }
    }
}

/// Where a page goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The key of the last row seen.
    pub key: String,
    /// What it has in the column of the order, as text; `None` where the order is the key's own.
    pub value: Option<String>,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// How many rows, 0 to 100.
    pub first: u32,
    /// Only rows after this one.
    pub after: Option<Cursor>,
    /// By this column, which always has a value; `None`: by the key, which is the order in which things came to be.
    pub order: Option<Column>,
    /// The smallest first. By the key, that is the oldest first.
    pub ascending: bool,
}

impl PageRequest {
    /// The newest `first` rows after the one with this key.
    #[must_use]
    pub fn newest(first: u32, after: Option<String>) -> Self {
        Self {
            first,
            after: after.map(|key| Cursor { key, value: None }),
            order: None,
            ascending: false,
        }
    }
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct Page<R> {
    /// The rows, in the order that was asked for.
    pub rows: Vec<R>,
    /// Whether others follow.
    pub has_next: bool,
}

impl<R> Default for Page<R> {
    /// An empty one.
    fn default() -> Self {
        let (rows, has_next) = (Vec::new(), false);
        Self { rows, has_next }
    }
}

impl<R> Page<R> {
    /// Makes a page of at most `first` rows from a read that asked for one more.
    #[must_use]
    pub fn from_overread(mut rows: Vec<R>, first: u32) -> Self {
        let limit = usize::try_from(first).unwrap_or(usize::MAX);
        let has_next = rows.len() > limit;
        rows.truncate(limit);
        Self { rows, has_next }
    }
}
