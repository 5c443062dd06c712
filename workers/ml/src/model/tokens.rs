//! What a pass through a network reads: tokens in rows, where they stand, and what they may see.
//!
//! Rule: all of it is on the host; a network makes of it what its device needs.

use std::sync::Arc;

/// Tokens of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens, row by row; as many in each row.
    pub ids: Vec<i32>,
    /// Rows; at least 1.
    pub batch: usize,
    /// Of each token its position in its text. `None` counts every row from the tokens of the cache on.
    pub positions: Option<Vec<u32>>,
    /// Of each token the first place of its row (those of the cache counted) that it sees, at most its own. So
    /// packed samples do not see each other, and nothing sees padding on the left. `None` is the row's start.
    pub first: Option<Arc<[u32]>>,
}

impl Tokens {
    /// `batch` rows of tokens that see all before them.
    #[must_use]
    pub fn rows(ids: Vec<i32>, batch: usize) -> Self {
        Self {
            ids,
            batch,
            positions: None,
            first: None,
        }
    }

    /// Tokens of a row.
    #[must_use]
    pub fn length(&self) -> usize {
        self.ids.len() / self.batch.max(1)
    }

    /// The position of each token, after `seen` tokens of a cache.
    pub(super) fn positions(&self, seen: usize) -> Vec<u32> {
        match &self.positions {
            Some(positions) => positions.clone(),
            None => {
                let row = seen as u32..(seen + self.length()) as u32;
                (0..self.batch).flat_map(|_| row.clone()).collect()
            }
        }
    }

    /// The first place each token sees through a `window` (itself counted), after `seen` tokens of a cache.
    pub(super) fn first(&self, window: Option<usize>, seen: usize) -> Option<Arc<[u32]>> {
        let length = self.length();
        let Some(window) = window.filter(|window| *window < seen + length) else {
            return self.first.clone();
        };
        let opens = |place: usize| (seen + place % length + 1).saturating_sub(window) as u32;
        let given = |place: usize| self.first.as_ref().map_or(0, |first| first[place]);
        Some(
            (0..self.ids.len())
                .map(|place| opens(place).max(given(place)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_from_the_cache_in_every_row() {
        let tokens = Tokens::rows(vec![0; 4], 2);
        assert_eq!(tokens.positions(3), [3, 4, 3, 4]);
    }

    #[test]
    fn a_window_and_packed_samples_are_seen_through_together() {
        let mut tokens = Tokens::rows(vec![0; 5], 1);
        assert_eq!(tokens.first(Some(5), 0), None);
        assert_eq!(tokens.first(Some(2), 0).as_deref(), Some(&[0, 0, 1, 2, 3][..]));
        assert_eq!(tokens.first(Some(2), 2).as_deref(), Some(&[1, 2, 3, 4, 5][..]));
        tokens.first = Some(Arc::from([0, 0, 0, 3, 3]));
        assert_eq!(tokens.first(Some(3), 0).as_deref(), Some(&[0, 0, 0, 3, 3][..]));
        assert_eq!(tokens.first(None, 0), tokens.first);
    }
}
