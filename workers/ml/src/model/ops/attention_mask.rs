//! Which keys a query of attention attends to.
//!
//! Rule: a query always attends to itself and to no later position, so no softmax is over an empty set; the visible
//! keys are one contiguous range that ends with the query itself. Causal masks, sliding windows, packed samples and
//! left padding all have this form.

use std::sync::Arc;

/// Which keys each query attends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionMask {
    /// Number of sequences.
    pub batch: usize,
    /// For each query, in the order of rows, the first key that it attends to, counted within its sequence; positions
    /// after the query's own are clipped to it. `None`: the first key of the sequence.
    pub first: Option<Arc<[u32]>>,
}

impl AttentionMask {
    /// Every query attends to all earlier positions of its sequence.
    #[must_use]
    pub fn causal(batch: usize) -> Self {
        Self { batch, first: None }
    }

    /// Every query attends to itself and the `size - 1` keys before it (arXiv:2004.05150); the `queries` of each
    /// sequence are the last of its `keys`.
    #[must_use]
    pub fn window(batch: usize, queries: usize, keys: usize, size: usize) -> Self {
        if size >= keys {
            return Self::causal(batch);
        }
        let first = |query: usize| (keys - queries + query + 1).saturating_sub(size.max(1)) as u32;
        Self {
            batch,
            first: Some((0..batch * queries).map(|row| first(row % queries)).collect()),
        }
    }

    /// Queries of `batch` sequences that attend to nothing before `first` (see [`AttentionMask::first`]).
    #[must_use]
    pub fn from_first(batch: usize, first: Vec<u32>) -> Self {
        Self {
            batch,
            first: Some(first.into()),
        }
    }

    /// The keys that query `query` of sequence `sequence` attends to, where each sequence has `queries` and `keys`.
    #[must_use]
    pub fn range(
        &self,
        sequence: usize,
        query: usize,
        queries: usize,
        keys: usize,
    ) -> std::ops::Range<usize> {
        let place = keys - queries + query;
        let first = self
            .first
            .as_ref()
            .map_or(0, |first| first[sequence * queries + query] as usize);
        first.min(place)..place + 1
    }

    /// Queries and keys per sequence of `query_rows` and `key_rows`.
    ///
    /// # Panics
    /// When the rows do not divide into the sequences, or there are more queries than keys.
    #[must_use]
    pub fn lengths(&self, query_rows: usize, key_rows: usize) -> (usize, usize) {
        let batch = self.batch;
        assert!(
            batch > 0 && query_rows.is_multiple_of(batch) && key_rows.is_multiple_of(batch),
            "{query_rows} queries and {key_rows} keys do not divide into {batch} sequences"
        );
        assert!(query_rows <= key_rows, "{query_rows} queries of {key_rows} keys");
        if let Some(first) = &self.first {
            assert_eq!(first.len(), query_rows, "as many first keys as queries");
        }
        (query_rows / batch, key_rows / batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sees_a_run_of_keys_that_ends_with_itself() {
        let causal = AttentionMask::causal(2);
        assert_eq!(causal.range(1, 0, 3, 3), 0..1);
        assert_eq!(causal.range(0, 2, 3, 3), 0..3);
        // With a cache, the queries are the last positions.
        assert_eq!(causal.range(0, 0, 1, 9), 0..9);

        let window = AttentionMask::window(2, 4, 6, 3);
        assert_eq!(window.range(1, 0, 4, 6), 0..3);
        assert_eq!(window.range(1, 3, 4, 6), 3..6);
        assert_eq!(AttentionMask::window(1, 4, 4, 4), AttentionMask::causal(1));

        let packed = AttentionMask::from_first(1, vec![0, 0, 2, 2, 9]);
        assert_eq!(packed.range(0, 1, 5, 5), 0..2);
        assert_eq!(packed.range(0, 3, 5, 5), 2..4);
        assert_eq!(packed.range(0, 4, 5, 5), 4..5, "always itself");
    }

    #[test]
    #[should_panic(expected = "do not divide into 3 sequences")]
    fn rows_that_are_no_whole_sequences_are_the_callers_mistake() {
        let _ = AttentionMask::causal(3).lengths(7, 7);
    }
}
