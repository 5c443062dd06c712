//! Blocks of queries, the keys that they attend to, and their attention weights.

use std::ops::Range;

use super::super::{
    matrix::{MatrixMut, MatrixView, Threads},
    simd::{softmax, vectorized},
};

/// Queries that are processed at once.
pub(super) const BLOCK: usize = 64;

/// The heads of a projection, side by side in the columns of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    data: &'a [f32],
    pub(super) rows: usize,
    /// Distance between rows.
    stride: usize,
    /// Columns of a head.
    pub(super) size: usize,
}

impl<'a> Heads<'a> {
    /// Heads of `size` columns in a matrix of `shape`, starting at `column`.
    pub(crate) fn new(data: &'a [f32], shape: [usize; 2], column: usize, size: usize) -> Self {
        Self {
            data: &data[column.min(data.len())..],
            rows: shape[0],
            stride: shape[1],
            size,
        }
    }

    /// `count` rows of `head`, starting at `row`: `[count, size]`.
    pub(super) fn view(&self, (head, row, count): (usize, usize, usize)) -> MatrixView<'a> {
        let start = row * self.stride + head * self.size;
        MatrixView::strided(&self.data[start..], [count, self.size], self.stride)
    }
}

/// A block of queries of one sequence and the keys that at least one of them attends to.
pub(super) struct Block {
    /// First query, counted within the sequence.
    pub(super) start: usize,
    /// Number of queries.
    pub(super) count: usize,
    /// First key, counted within the sequence.
    pub(super) first_key: usize,
    /// Number of keys.
    pub(super) keys: usize,
}

impl Block {
    /// The block that begins at query `start` of `queries`; `range` gives the visible keys of a query.
    pub(super) fn new(start: usize, queries: usize, range: impl Fn(usize) -> Range<usize>) -> Self {
        let count = BLOCK.min(queries - start);
        let ranges = || (start..start + count).map(&range);
        let first_key = ranges().map(|range| range.start).min().unwrap_or(0);
        let end = ranges().map(|range| range.end).max().unwrap_or(0);
        Self {
            start,
            count,
            first_key,
            keys: end - first_key,
        }
    }

    /// `[count, keys]`
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.count, self.keys]
    }

    /// Fills `weights` `[count, keys]` with the softmax of `scale · queries · keysᵀ` over the visible keys.
    pub(super) fn weights(
        &self,
        weights: &mut [f32],
        queries: MatrixView<'_>,
        keys: MatrixView<'_>,
        scale: f32,
        range: impl Fn(usize) -> Range<usize>,
    ) {
        MatrixMut::rows(weights, self.shape()).set(1.0, queries, keys.transposed(), Threads::Current);
        vectorized(
            #[inline(always)]
            || {
                for (query, row) in weights.chunks_exact_mut(self.keys).enumerate() {
                    let range = range(self.start + query);
                    let (before, rest) = row.split_at_mut(range.start - self.first_key);
                    let (visible, after) = rest.split_at_mut(range.len());
                    before.fill(0.0);
                    after.fill(0.0);
                    softmax(visible, scale);
                }
            },
        );
    }
}
