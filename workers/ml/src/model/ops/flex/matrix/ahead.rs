//! Memory that is asked for before it is needed: weights are read once in a step, from memory that answers slowly.

use std::ops::Range;

use super::View;

/// Numbers of a cache line.
const LINE: usize = 16;

/// The cache lines of a piece of a matrix, asked for little by little while something else is computed.
pub(super) struct Ahead<'a> {
    numbers: &'a [f32],
    /// From a row of lines to the next.
    stride: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    /// The next column of the first row.
    column: usize,
}

impl<'a> Ahead<'a> {
    /// What there is of `rows` and `columns` in `matrix`; nothing of it where numbers stand alone.
    pub(super) fn of(matrix: View<'a>, rows: Range<usize>, columns: Range<usize>) -> Self {
        let within = |range: Range<usize>, end: usize| range.start..range.end.min(end);
        let [rows, columns] = [within(rows, matrix.shape[0]), within(columns, matrix.shape[1])];
        let (stride, rows, columns) = match matrix.strides {
            [stride, 1] => (stride, rows, columns),
            [1, stride] => (stride, columns, rows),
            _ => (0, 0..0, 0..0),
        };
        Self {
            numbers: matrix.numbers,
            stride,
            rows: if columns.is_empty() { 0..0 } else { rows },
            column: columns.start,
            columns,
        }
    }

    /// How many lines are still to be asked for.
    pub(super) fn lines(&self) -> usize {
        self.rows.len() * self.columns.len().div_ceil(LINE)
    }

    /// Asks for the next lines.
    #[inline(always)]
    pub(super) fn ask(&mut self, lines: usize) {
        for _ in 0..lines {
            if self.rows.is_empty() {
                return;
            }
            ask(self.numbers, self.rows.start * self.stride + self.column);
            self.column += LINE;
            if self.column >= self.columns.end {
                self.column = self.columns.start;
                self.rows.start += 1;
            }
        }
    }
}

/// Asks for `numbers`, which are written soon.
#[inline(always)]
pub(super) fn near(numbers: &[f32]) {
    for at in (0..numbers.len()).step_by(LINE) {
        ask(numbers, at);
    }
}

/// Asks for the line of a number to come into the nearest cache of this core; one further away is hardly better
/// than none on a Zen 4.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "the processor is told an address")]
fn ask(numbers: &[f32], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    // SAFETY: this instruction reads nothing that the program could see and ends in no error, whatever the
    // address is; SSE, which it belongs to, is part of every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(numbers.as_ptr().wrapping_add(at).cast()) }
}

/// Other processors look ahead by themselves.
#[cfg(not(target_arch = "x86_64"))]
fn ask(_numbers: &[f32], _at: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line once, whichever way the matrix lies, and nothing outside of it.
    #[test]
    fn a_piece_is_asked_for_line_by_line_and_ends() {
        let numbers = vec![0.0; 100 * 40];
        let matrix = View::rows(&numbers, [100, 40]);
        let mut seen = Vec::new();
        for mut ahead in [
            Ahead::of(matrix, 98..200, 3..400),
            Ahead::of(matrix.transposed(), 3..400, 98..200),
        ] {
            assert_eq!(ahead.lines(), 2 * 3);
            let mut places = Vec::new();
            while ahead.lines() > 0 {
                places.push(ahead.rows.start * ahead.stride + ahead.column);
                ahead.ask(1);
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
        assert_eq!(Ahead::of(matrix, 100..200, 0..40).lines(), 0);
        assert_eq!(Ahead::of(matrix, 0..10, 40..80).lines(), 0);
    }
}
