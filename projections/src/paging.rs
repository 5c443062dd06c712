//! Pages of rows, by keyset: cursors stay right while rows come and go.

/// Which part of a list is wanted. Lists run from the newest to the oldest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many rows, 0 to 100.
    pub first: u32,
    /// Only rows after the one with this key.
    pub after: Option<String>,
}

impl PageRequest {
    /// The key to go on after, where keys are UUIDs; none when there is no such key.
    #[must_use]
    pub fn after_id(&self) -> Option<uuid::Uuid> {
        self.after
            .as_deref()
            .and_then(|key| uuid::Uuid::try_parse(key).ok())
    }
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct Page<R> {
    /// The rows, newest first.
    pub rows: Vec<R>,
    /// Whether older ones follow.
    pub has_next: bool,
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

/// Whose things a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// An administrator: everybody's.
    Everything,
    /// A user: their own, what they take part in, and what is public.
    User(domain::id::UserId),
}

impl Viewer {
    /// As a bind parameter: the user, or `NULL` for everything.
    #[must_use]
    pub fn parameter(self) -> Option<uuid::Uuid> {
        match self {
            Self::Everything => None,
            Self::User(user) => Some(user.0),
        }
    }
}
