//! Products of a few rows with a matrix that lies across, as when a text is continued: each number of the large
//! matrix is read once, straight from where it stands.
//!
//! Rule: a sum runs in the lanes of a vector, then over them, so its order depends on the vectors of the machine
//! but on nothing else.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    View,
    product::{Product, cut, lanes},
};

/// Rows that share a pass over the large matrix.
const TOGETHER: usize = 8;
/// More rows than this are for tiles.
const FEW: usize = 2 * TOGETHER;
/// Columns that one task works on, at least and at most.
const COLUMNS: [usize; 2] = [32, 512];
/// Tasks that columns are cut into where they are enough.
const TASKS: usize = 16;

/// Whether this machine and these matrices are for it.
pub(super) fn is_for(left: View<'_>, right: View<'_>) -> bool {
    (2..=FEW).contains(&left.shape[0])
        && left.strides[1] == 1
        && right.strides[0] == 1
        && lanes(Arch::new()) > 0
}

/// Computes `product` into `target`, whose rows are `stride` apart.
pub(super) fn multiply(arch: Arch, target: &mut [f32], stride: usize, product: Product<'_>) {
    let ([rows, _], columns) = (product.left.shape, product.right.shape[1]);
    let mut target: Vec<&mut [f32]> = target
        .chunks_mut(stride)
        .take(rows)
        .map(|row| &mut row[..columns])
        .collect();
    let width = columns.div_ceil(TASKS).clamp(COLUMNS[0], COLUMNS[1]);
    let tasks = cut(&mut target, columns, width).into_par_iter().enumerate();
    tasks.for_each(|(task, mut out)| {
        arch.dispatch(Task {
            product,
            first: task * width,
            out: &mut out,
        });
    });
}

struct Task<'a, 't> {
    product: Product<'a>,
    /// The first column.
    first: usize,
    /// The task's columns of each row.
    out: &'a mut [&'t mut [f32]],
}

impl WithSimd for Task<'_, '_> {
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

impl Task<'_, '_> {
    /// So many columns at a time.
    #[inline(always)]
    fn columns<S: Simd, const AT_ONCE: usize>(self, simd: S) {
        let Product {
            add,
            scale,
            left,
            right,
        } = self.product;
        let (depth, columns) = (left.shape[1], self.out.first().map_or(0, |row| row.len()));
        let last = self.first + columns - 1;
        for (group, out) in self.out.chunks_mut(TOGETHER).enumerate() {
            let row = |index: usize| {
                // Beyond the last row it is computed again, to no effect.
                let row = (group * TOGETHER + index).min(left.shape[0] - 1);
                &left.numbers[row * left.strides[0]..][..depth]
            };
            let rows: [&[f32]; TOGETHER] = std::array::from_fn(row);
            let vectors = rows.map(|row| S::as_simd_f32s(row));
            let count = vectors[0].0.len();
            let beside: Vec<[S::f32s; TOGETHER]> = (0..count)
                .map(|place| vectors.map(|(vectors, _)| vectors[place]))
                .collect();
            for column in (0..columns).step_by(AT_ONCE) {
                let matrix: [&[f32]; AT_ONCE] = std::array::from_fn(|index| {
                    let column = (self.first + column + index).min(last);
                    &right.numbers[column * right.strides[1]..][..depth]
                });
                let parts = matrix.map(|column| S::as_simd_f32s(column));
                let mut sums = [[simd.splat_f32s(0.0); TOGETHER]; AT_ONCE];
                let (first, second) = (parts[0].0, parts[AT_ONCE - 1].0);
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
            let numbers =
                |count: usize| -> Vec<f32> { (0..count).map(|at| (at as f32 * 0.7).sin()).collect() };
            let (a, b) = (numbers(rows * depth), numbers(depth * columns));
            for add in [false, true] {
                let mut target = vec![1.0; rows * (columns + 1)];
                let product = Product {
                    add,
                    scale: 2.0,
                    left: View::rows(&a, [rows, depth]),
                    right: View::rows(&b, [columns, depth]).transposed(),
                };
                assert!(is_for(product.left, product.right) || lanes(Arch::new()) == 0);
                multiply(Arch::new(), &mut target, columns + 1, product);
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
