//! Software prefetching: weights are read once per step, from memory with a high latency.
//!
//! Lines are prefetched into the L1 cache; a hint for a farther cache gained almost nothing on a Zen 4.

use std::ops::Range;

use super::view::MatrixView;
use crate::raw::prefetch::prefetch;

/// Elements of a cache line.
const CACHE_LINE: usize = 16;

/// The cache lines of a block of a matrix, prefetched a few at a time while something else is computed.
pub(super) struct Prefetch<'a> {
    data: &'a [f32],
    /// Distance between rows of cache lines.
    stride: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    /// The next column of the first row.
    column: usize,
}

impl<'a> Prefetch<'a> {
    /// The block of `rows` and `columns`, clipped to `matrix`; empty when the elements of `matrix` are not adjacent in
    /// either direction.
    pub(super) fn new(matrix: MatrixView<'a>, rows: Range<usize>, columns: Range<usize>) -> Self {
        let within = |range: Range<usize>, end: usize| range.start..range.end.min(end);
        let [rows, columns] = [within(rows, matrix.shape[0]), within(columns, matrix.shape[1])];
        let (stride, rows, columns) = match matrix.strides {
            [stride, 1] => (stride, rows, columns),
            [1, stride] => (stride, columns, rows),
            _ => (0, 0..0, 0..0),
        };
        Self {
            data: matrix.data,
            stride,
            rows: if columns.is_empty() { 0..0 } else { rows },
            column: columns.start,
            columns,
        }
    }

    /// Number of lines that are still to be prefetched.
    pub(super) fn lines(&self) -> usize {
        self.rows.len() * self.columns.len().div_ceil(CACHE_LINE)
    }

    /// Prefetches the next lines.
    #[inline(always)]
    pub(super) fn issue(&mut self, lines: usize) {
        for _ in 0..lines {
            if self.rows.is_empty() {
                return;
            }
            prefetch(self.data, self.rows.start * self.stride + self.column);
            self.column += CACHE_LINE;
            if self.column >= self.columns.end {
                self.column = self.columns.start;
                self.rows.start += 1;
            }
        }
    }
}

/// Prefetches `data`, which is about to be written.
#[inline(always)]
pub(super) fn prefetch_slice(data: &[f32]) {
    for index in (0..data.len()).step_by(CACHE_LINE) {
        prefetch(data, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line once, in either direction, and nothing outside of the matrix.
    #[test]
    fn a_piece_is_asked_for_line_by_line_and_ends() {
        let data = vec![0.0; 100 * 40];
        let matrix = MatrixView::rows(&data, [100, 40]);
        let mut seen = Vec::new();
        for mut block in [
            Prefetch::new(matrix, 98..200, 3..400),
            Prefetch::new(matrix.transposed(), 3..400, 98..200),
        ] {
            assert_eq!(block.lines(), 2 * 3);
            let mut places = Vec::new();
            while block.lines() > 0 {
                places.push(block.rows.start * block.stride + block.column);
                block.issue(1);
                assert!(places.len() <= 6, "it ends");
            }
            seen.push(places);
        }
        let expected = [
            98 * 40 + 3,
            98 * 40 + 19,
            98 * 40 + 35,
            99 * 40 + 3,
            99 * 40 + 19,
            99 * 40 + 35,
        ];
        assert_eq!(seen, [expected, expected]);
        assert_eq!(Prefetch::new(matrix, 100..200, 0..40).lines(), 0);
        assert_eq!(Prefetch::new(matrix, 0..10, 40..80).lines(), 0);
    }
}
