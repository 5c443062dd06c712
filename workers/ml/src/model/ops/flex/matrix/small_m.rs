//! Products with few rows (small m) and a transposed right matrix, as in text generation: each element of the large
//! matrix is read once and is not packed.
//!
//! Rule: a sum runs in the lanes of a vector and then over the lanes, so its order depends on the machine's vector
//! width and on nothing else.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::view::{MatMul, MatrixView, lanes, rows_of, split_columns};

/// Rows that share a pass over the large matrix.
const ROWS_PER_PASS: usize = 8;
/// Products with more rows are tiled.
const MAX_ROWS: usize = 2 * ROWS_PER_PASS;
/// Minimum and maximum number of columns per task.
const TASK_COLUMNS: [usize; 2] = [32, 512];
/// Number of tasks to aim for.
const TARGET_TASKS: usize = 16;

/// Whether this kernel supports the machine and the matrices.
pub(super) fn supports(left: MatrixView<'_>, right: MatrixView<'_>) -> bool {
    (2..=MAX_ROWS).contains(&left.shape[0])
        && left.strides[1] == 1
        && right.strides[0] == 1
        && lanes(Arch::new()) > 0
}

/// Computes `matmul` into `target`, whose rows are `stride` elements apart.
pub(super) fn multiply(arch: Arch, target: &mut [f32], stride: usize, matmul: MatMul<'_>) {
    let ([rows, _], columns) = (matmul.left.shape, matmul.right.shape[1]);
    let mut target = rows_of(target, stride, [rows, columns]);
    let width = columns
        .div_ceil(TARGET_TASKS)
        .clamp(TASK_COLUMNS[0], TASK_COLUMNS[1]);
    let tasks = split_columns(&mut target, columns, width)
        .into_par_iter()
        .enumerate();
    tasks.for_each(|(task, mut out)| {
        arch.dispatch(Trainable {
            matmul,
            first: task * width,
            out: &mut out,
        });
    });
}

struct Trainable<'a, 't> {
    matmul: MatMul<'a>,
    /// First column.
    first: usize,
    /// The task's columns of each row.
    out: &'a mut [&'t mut [f32]],
}

impl WithSimd for Trainable<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 16 of 32 registers of AVX-512, 8 of 16 of AVX2.
        if size_of::<S::f32s>() == 64 {
            self.columns::<S, 2>(simd);
        } else {
            self.columns::<S, 1>(simd);
        }
    }
}

impl Trainable<'_, '_> {
    /// Computes `COLUMNS_PER_PASS` columns at a time.
    #[inline(always)]
    fn columns<S: Simd, const COLUMNS_PER_PASS: usize>(self, simd: S) {
        let MatMul {
            add,
            scale,
            left,
            right,
        } = self.matmul;
        let (depth, columns) = (left.shape[1], self.out.first().map_or(0, |row| row.len()));
        let last = self.first + columns - 1;
        for (group, out) in self.out.chunks_mut(ROWS_PER_PASS).enumerate() {
            let row = |index: usize| {
                // Beyond the last row, its result is computed again and not used.
                let row = (group * ROWS_PER_PASS + index).min(left.shape[0] - 1);
                &left.data[row * left.strides[0]..][..depth]
            };
            let rows: [&[f32]; ROWS_PER_PASS] = std::array::from_fn(row);
            let vectors = rows.map(|row| S::as_simd_f32s(row));
            let count = vectors[0].0.len();
            let beside: Vec<[S::f32s; ROWS_PER_PASS]> = (0..count)
                .map(|place| vectors.map(|(vectors, _)| vectors[place]))
                .collect();
            for column in (0..columns).step_by(COLUMNS_PER_PASS) {
                let matrix: [&[f32]; COLUMNS_PER_PASS] = std::array::from_fn(|index| {
                    let column = (self.first + column + index).min(last);
                    &right.data[column * right.strides[1]..][..depth]
                });
                let parts = matrix.map(|column| S::as_simd_f32s(column));
                let mut sums = [[simd.splat_f32s(0.0); ROWS_PER_PASS]; COLUMNS_PER_PASS];
                let (first, second) = (parts[0].0, parts[COLUMNS_PER_PASS - 1].0);
                for ((rows, first), second) in beside.iter().zip(first).zip(second) {
                    for (index, sums) in sums.iter_mut().enumerate() {
                        let number = if index == 0 { *first } else { *second };
                        for (sum, row) in sums.iter_mut().zip(rows) {
                            *sum = simd.mul_add_f32s(number, *row, *sum);
                        }
                    }
                }
                for (index, sums) in sums.iter().enumerate().take(columns - column) {
                    for ((out, sum), (_, tail)) in out.iter_mut().zip(sums).zip(&vectors) {
                        let rest = tail.iter().zip(parts[index].1).map(|(a, b)| a * b);
                        let sum = scale * rest.fold(simd.reduce_sum_f32s(*sum), |sum, term| sum + term);
                        let out = &mut out[column + index];
                        *out = if add { *out + sum } else { sum };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_a_few_rows_are_those_of_sums() {
        for [rows, depth, columns] in [[2, 16, 1], [7, 37, 33], [8, 64, 700], [11, 5, 40], [16, 100, 70]] {
            let data = |count: usize| -> Vec<f32> { (0..count).map(|at| (at as f32 * 0.7).sin()).collect() };
            let (a, b) = (data(rows * depth), data(depth * columns));
            for add in [false, true] {
                let mut target = vec![1.0; rows * (columns + 1)];
                let matmul = MatMul {
                    add,
                    scale: 2.0,
                    left: MatrixView::rows(&a, [rows, depth]),
                    right: MatrixView::rows(&b, [columns, depth]).transposed(),
                };
                assert!(supports(matmul.left, matmul.right) || lanes(Arch::new()) == 0);
                multiply(Arch::new(), &mut target, columns + 1, matmul);
                for row in 0..rows {
                    for column in 0..columns {
                        let sum: f32 = (0..depth)
                            .map(|at| a[row * depth + at] * b[column * depth + at])
                            .sum();
                        let expected = 2.0 * sum + f32::from(u8::from(add));
                        let found = target[row * (columns + 1) + column];
                        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
                    }
                    assert_eq!(target[row * (columns + 1) + columns], 1.0, "what lies between");
                }
            }
        }
    }
}
