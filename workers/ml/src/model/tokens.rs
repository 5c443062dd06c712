//! The input of a forward pass: tokens with their positions and what they attend to.
//!
//! Rule: everything is in host memory; the network creates the tensors that its device needs.

use std::sync::Arc;

/// The tokens of a forward pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    /// Token IDs, row by row; rows have equal length.
    pub ids: Vec<i32>,
    /// Number of rows, at least 1.
    pub batch: usize,
    /// Position of each token in its text. `None` counts from the number of cached tokens in every row.
    pub positions: Option<Vec<u32>>,
    /// For each token the first position of its row (cached ones included) that it attends to, at most its own. It
    /// separates packed samples from each other and hides padding on the left. `None` is the start of the row.
    pub first_visible: Option<Arc<[u32]>>,
}

impl TokenBatch {
    /// `batch` rows of tokens that attend to everything before them.
    #[must_use]
    pub fn rows(ids: Vec<i32>, batch: usize) -> Self {
        Self {
            ids,
            batch,
            positions: None,
            first_visible: None,
        }
    }

    /// Tokens of a row.
    #[must_use]
    pub fn length(&self) -> usize {
        self.ids.len() / self.batch.max(1)
    }

    /// The position of each token after `cached` tokens.
    pub(super) fn positions(&self, cached: usize) -> Vec<u32> {
        match &self.positions {
            Some(positions) => positions.clone(),
            None => {
                let row = cached as u32..(cached + self.length()) as u32;
                (0..self.batch).flat_map(|_| row.clone()).collect()
            }
        }
    }

    /// The first position that each token attends to with a sliding `window` (which includes the token), after
    /// `cached` tokens.
    pub(super) fn first_visible(&self, window: Option<usize>, cached: usize) -> Option<Arc<[u32]>> {
        let length = self.length();
        let Some(window) = window.filter(|window| *window < cached + length) else {
            return self.first_visible.clone();
        };
        let window_start = |place: usize| (cached + place % length + 1).saturating_sub(window) as u32;
        let explicit = |place: usize| self.first_visible.as_ref().map_or(0, |first| first[place]);
        Some(
            (0..self.ids.len())
                .map(|place| window_start(place).max(explicit(place)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_from_the_cache_in_every_row() {
        let tokens = TokenBatch::rows(vec![0; 4], 2);
        assert_eq!(tokens.positions(3), [3, 4, 3, 4]);
    }

    #[test]
    fn a_window_and_packed_samples_are_seen_through_together() {
        let mut tokens = TokenBatch::rows(vec![0; 5], 1);
        assert_eq!(tokens.first_visible(Some(5), 0), None);
        assert_eq!(
            tokens.first_visible(Some(2), 0).as_deref(),
            Some(&[0, 0, 1, 2, 3][..])
        );
        assert_eq!(
            tokens.first_visible(Some(2), 2).as_deref(),
            Some(&[1, 2, 3, 4, 5][..])
        );
        tokens.first_visible = Some(Arc::from([0, 0, 0, 3, 3]));
        assert_eq!(
            tokens.first_visible(Some(3), 0).as_deref(),
            Some(&[0, 0, 0, 3, 3][..])
        );
        assert_eq!(tokens.first_visible(None, 0), tokens.first_visible);
    }
}
