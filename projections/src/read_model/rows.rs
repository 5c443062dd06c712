//! The rows in memory that a fold works on.
//!
//! The rule: what one event changed is known when that event has been folded, before the next one is.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::text::as_stored;

/// The rows that a page of events touches.
pub struct Rows<R> {
    pub(super) rows: HashMap<String, R>,
    /// Changed since they were last written.
    pub(super) changed: HashSet<String>,
    /// Changed by the event that is being folded.
    touched: Vec<String>,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self::of(HashMap::new())
    }
}

fn spelled(key: impl std::fmt::Display) -> String {
    let key = key.to_string();
    match as_stored(&key) {
        Cow::Borrowed(_) => key,
        Cow::Owned(stored) => stored,
    }
}

impl<R> Rows<R> {
    /// Rows as they are stored.
    pub(super) fn of(rows: HashMap<String, R>) -> Self {
        Self {
            rows,
            changed: HashSet::new(),
            touched: Vec::new(),
        }
    }

    /// Puts a row in place of what is there.
    pub fn put(&mut self, key: impl std::fmt::Display, row: R) {
        let key = spelled(key);
        self.touched.push(key.clone());
        self.rows.insert(key, row);
    }

    /// Changes the row, if there is one.
    pub fn change(&mut self, key: impl std::fmt::Display, change: impl FnOnce(&mut R)) {
        let key = spelled(key);
        if let Some(row) = self.rows.get_mut(&key) {
            change(row);
            self.touched.push(key);
        }
    }

    /// The row as it stands now.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&R> {
        self.rows.get(as_stored(key).as_ref())
    }

    /// Ends the fold of one event: hands out the keys of the rows that it changed, ascending.
    pub fn settle(&mut self) -> Vec<String> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for key in &touched {
            if !self.changed.contains(key) {
                self.changed.insert(key.clone());
            }
        }
        touched
    }
}
