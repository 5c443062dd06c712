//! Products of large matrices: register tiles over packed blocks that fit the caches.
//!
//! One operand is spread over the lanes of a vector (`panels`), the elements of the other are broadcast (`rows`).
//!
//! Rules: every sum is taken in the order of the inner dimension, in blocks of [`BLOCK_DEPTH`], whatever the tiles,
//! the threads and the vector width; machines without fused multiply-add are not supported.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    layout::{BLOCK_DEPTH, MAX_TILE_COLUMNS, PackedRow, TILE_ROWS, TILE_VECTORS},
    pack::{self, TRANSPOSE_BLOCK},
    prefetch::Prefetch,
    scratch::Scratch,
    tile::{TileOutput, store, tile},
    view::{MatMul, MatrixView, lanes, rows_of, split_columns},
};

/// Elements of the inner dimension that are packed at once, which limits the memory for packed blocks.
const MAX_PACKED_DEPTH: usize = 8 * BLOCK_DEPTH;
/// Products with a smaller dimension are left to `gemm`.
const MIN_DIMENSION: usize = 24;
/// Products with fewer rows are limited by memory bandwidth, and `gemm` reads each row of a matrix once.
const MIN_ROWS: usize = 17;
/// Number of tasks to aim for.
const TARGET_TASKS: usize = 32;
/// Minimum number of columns per task: fewer are read in pieces too short for the memory.
const MIN_TASK_COLUMNS: usize = 2 * MAX_TILE_COLUMNS;
/// Columns of the right matrix that a transposed task uses as rows.
const TASK_ROWS: usize = 64;
/// With more rows, packing is a small part of the work, and `gemm` is as fast.
const MAX_ROWS: usize = 384;

/// Whether this kernel supports the machine and the shapes.
pub(super) fn supports(left: MatrixView<'_>, right: MatrixView<'_>) -> bool {
    let ([rows, depth], columns) = (left.shape, right.shape[1]);
    let gains = rows <= MAX_ROWS || uses_transposed_right(left, right);
    gains && rows >= MIN_ROWS && depth >= MIN_DIMENSION && columns >= MIN_DIMENSION && lanes(Arch::new()) > 0
}

/// Whether to leave the right matrix in place and transpose the product instead: packing a transposed matrix takes
/// longer than writing the product transposed.
fn uses_transposed_right(left: MatrixView<'_>, right: MatrixView<'_>) -> bool {
    let ([rows, depth], columns) = (left.shape, right.shape[1]);
    right.strides[1] != 1 && rows * (depth + columns) < depth * columns
}

/// Computes `matmul` into `target`, whose rows are `stride` elements apart.
pub(super) fn multiply(arch: Arch, target: &mut [f32], stride: usize, matmul: MatMul<'_>) {
    let ([rows, depth], columns) = (matmul.left.shape, matmul.right.shape[1]);
    let mut target = rows_of(target, stride, [rows, columns]);
    for start in (0..depth).step_by(MAX_PACKED_DEPTH) {
        let inner = start..depth.min(start + MAX_PACKED_DEPTH);
        let matmul = MatMul {
            add: matmul.add || start > 0,
            ..matmul
        };
        if uses_transposed_right(matmul.left, matmul.right) {
            multiply_transposed(arch, &mut target, matmul, inner);
        } else {
            multiply_by_columns(arch, &mut target, matmul, inner);
        }
    }
}

/// Uses the columns of the right matrix as rows of tiles.
fn multiply_transposed(arch: Arch, target: &mut [&mut [f32]], matmul: MatMul<'_>, inner: Range<usize>) {
    let panels = pack::pack_all_panels(
        arch,
        matmul.left.transposed(),
        inner.clone(),
        TILE_VECTORS * lanes(arch),
        lanes(arch),
    );
    let matrix = matmul.right.transposed();
    let columns = matrix.shape[0];
    let tasks = split_columns(target, columns, TASK_ROWS)
        .into_par_iter()
        .enumerate();
    tasks.for_each(|(task, mut out)| {
        arch.dispatch(TransposedTask {
            arch,
            matmul,
            matrix,
            panels: &panels,
            rows: task * TASK_ROWS..columns.min((task + 1) * TASK_ROWS),
            inner: inner.clone(),
            out: &mut out,
        });
    });
}

/// Uses the rows of the left matrix as rows of tiles, and splits the panels into tasks.
fn multiply_by_columns(arch: Arch, target: &mut [&mut [f32]], matmul: MatMul<'_>, inner: Range<usize>) {
    let columns = matmul.right.shape[1];
    let width = columns
        .div_ceil(TARGET_TASKS)
        .next_multiple_of(MAX_TILE_COLUMNS)
        .clamp(MIN_TASK_COLUMNS, 8 * MAX_TILE_COLUMNS);
    let rows = pack::pack_all_rows(arch, matmul.left, inner.clone());
    let tasks = split_columns(target, columns, width).into_par_iter().enumerate();
    tasks.for_each(|(task, mut out)| {
        arch.dispatch(ColumnTask {
            arch,
            matmul,
            rows: &rows,
            first: task * width,
            inner: inner.clone(),
            out: &mut out,
        });
    });
}

/// The block that is packed after `inner`, and whether it is the first one of the next task because `inner` is the
/// last of `all`.
fn next_block(inner: &Range<usize>, all: &Range<usize>) -> (Range<usize>, bool) {
    let is_last = inner.end == all.end;
    let start = if is_last { all.start } else { inner.end };
    (start..all.end.min(start + BLOCK_DEPTH), is_last)
}

/// A task whose tiles have rows of the left matrix.
struct ColumnTask<'a, 't> {
    arch: Arch,
    matmul: MatMul<'a>,
    /// The packed left matrix, see [`pack::pack_all_rows`].
    rows: &'a [PackedRow],
    /// First column.
    first: usize,
    /// Range of the inner dimension.
    inner: Range<usize>,
    /// The task's columns of each row.
    out: &'a mut [&'t mut [f32]],
}

impl WithSimd for ColumnTask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = size_of::<S::f32s>() / size_of::<f32>();
        let columns = self.out.first().map_or(0, |row| row.len());
        let padded = self.out.len().next_multiple_of(TILE_ROWS);
        let panels = pack::panels(columns, TILE_VECTORS * lanes, lanes);
        let mut packed =
            Scratch::<f32>::new(panels.iter().map(|panel| panel.width).sum::<usize>() * BLOCK_DEPTH);
        let blocks = self.inner.clone().step_by(BLOCK_DEPTH).enumerate();
        for ((block, start), rows) in blocks.zip(self.rows.chunks_exact(padded)) {
            let inner = start..self.inner.end.min(start + BLOCK_DEPTH);
            pack::pack_panel_row(
                self.arch,
                self.matmul.right,
                inner.clone(),
                self.first,
                &panels,
                &mut packed,
            );
            // The next block to be packed, or the first one of the following task.
            let (next, is_last) = next_block(&inner, &self.inner);
            let first = if is_last { self.first + columns } else { self.first };
            let mut prefetch = Prefetch::new(self.matmul.right, next, first..first + columns);
            let lines = prefetch.lines().div_ceil(padded / TILE_ROWS * panels.len());
            let add = self.matmul.add || block > 0;
            for (rows, out) in rows.chunks_exact(TILE_ROWS).zip(self.out.chunks_mut(TILE_ROWS)) {
                let mut rest = &packed[..];
                for panel in &panels {
                    let data;
                    (data, rest) = rest.split_at(panel.width * BLOCK_DEPTH);
                    prefetch.issue(lines);
                    let output = TileOutput {
                        out,
                        first: panel.first,
                        count: panel.count,
                        scale: self.matmul.scale,
                        add,
                    };
                    tile(
                        simd,
                        rows,
                        &data[..panel.width * inner.len()],
                        panel.width,
                        output,
                    );
                }
            }
        }
    }
}

/// A task whose tiles have columns of the right matrix as rows.
struct TransposedTask<'a, 't> {
    arch: Arch,
    matmul: MatMul<'a>,
    /// The transposed right matrix.
    matrix: MatrixView<'a>,
    /// The packed panels of the transposed left matrix, see [`pack::pack_all_panels`].
    panels: &'a pack::Panels,
    /// The rows of `matrix`.
    rows: Range<usize>,
    /// Range of the inner dimension.
    inner: Range<usize>,
    /// The task's columns of each row of the target.
    out: &'a mut [&'t mut [f32]],
}

impl WithSimd for TransposedTask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            arch,
            matmul: MatMul { add, scale, .. },
            ..
        } = self;
        let (count, width) = (self.rows.len(), self.panels.width);
        let mut packed = Scratch::<PackedRow>::new(count.next_multiple_of(TILE_ROWS));
        // The transposed product of the task.
        let mut transposed_sums = Scratch::<f32>::new(count * width);
        let mut sums: Vec<&mut [f32]> = transposed_sums.chunks_exact_mut(width).collect();
        for (block, start) in self.inner.clone().step_by(BLOCK_DEPTH).enumerate() {
            let inner = start..self.inner.end.min(start + BLOCK_DEPTH);
            let depth = inner.len();
            let (next, is_last) = next_block(&inner, &self.inner);
            let rows = if is_last {
                self.rows.end..self.rows.end + TASK_ROWS
            } else {
                self.rows.clone()
            };
            let mut prefetch = Prefetch::new(self.matrix, rows, next);
            let lines = prefetch
                .lines()
                .div_ceil(packed.len() / TILE_ROWS * self.panels.count());
            pack::rows(arch, self.matrix, inner, self.rows.clone(), &mut packed);
            for panels in self.panels.groups(block) {
                for (out, rows) in sums.chunks_mut(TILE_ROWS).zip(packed.chunks_exact(TILE_ROWS)) {
                    for (panel, data) in panels.clone() {
                        prefetch.issue(lines);
                        let output = TileOutput {
                            out,
                            first: panel.first,
                            count: panel.width,
                            scale: 1.0,
                            add: block > 0,
                        };
                        tile(simd, rows, &data[..panel.width * depth], panel.width, output);
                    }
                }
            }
        }
        for (group, out) in self.out.chunks_mut(TRANSPOSE_BLOCK).enumerate() {
            for first in (0..count).step_by(TRANSPOSE_BLOCK) {
                let source = &transposed_sums[first * width + group * TRANSPOSE_BLOCK..];
                let shape = [TRANSPOSE_BLOCK.min(count - first), out.len()];
                let across = pack::transposed(arch, source, width, shape);
                for (out, across) in out.iter_mut().zip(&across) {
                    match out[first..].first_chunk_mut::<TRANSPOSE_BLOCK>() {
                        Some(out) if shape[0] == TRANSPOSE_BLOCK => store(out, across, scale, add),
                        _ => store(&mut out[first..first + shape[0]], across, scale, add),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(count: usize, seed: u32) -> Vec<f32> {
        let number = |at: usize| ((at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) as f32;
        (0..count).map(|at| number(at) / 32_768.0 - 1.0).collect()
    }

    /// The vector instruction sets of this machine; without any there is nothing to test.
    fn machines() -> Vec<Arch> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(Arch::V3));
            all.extend(pulp::x86::V4::try_new().map(Arch::V4));
        }
        all
    }

    /// Each layout and both kinds of tasks: few and many rows, partial tiles, panels and blocks, and more than one
    /// packed range.
    #[test]
    fn products_are_those_of_sums_and_the_same_with_all_vectors() {
        for [rows, depth, columns] in [
            [2, 24, 24],
            [8, 40, 500],
            [9, 257, 49],
            [50, 300, 130],
            [65, 515, 100],
            [400, 70, 61],
            [3, MAX_PACKED_DEPTH + 5, 30],
        ] {
            let (a, b) = (data(rows * depth, 1), data(depth * columns, 2));
            let lefts = [
                MatrixView::rows(&a, [rows, depth]),
                MatrixView::rows(&a, [depth, rows]).transposed(),
            ];
            let rights = [
                MatrixView::rows(&b, [depth, columns]),
                MatrixView::rows(&b, [columns, depth]).transposed(),
            ];
            for (left, right) in lefts.iter().flat_map(|left| rights.map(|right| (*left, right))) {
                let at = |view: MatrixView<'_>, row: usize, column: usize| {
                    f64::from(view.data[row * view.strides[0] + column * view.strides[1]])
                };
                let mut seen: Option<Vec<u32>> = None;
                for arch in machines() {
                    let stride = columns + 3;
                    let mut target = vec![1.0; rows * stride];
                    let matmul = MatMul {
                        add: true,
                        scale: 0.5,
                        left,
                        right,
                    };
                    multiply(arch, &mut target, stride, matmul);
                    for row in (0..rows).step_by(7) {
                        for column in (0..columns).step_by(5).chain([columns - 1]) {
                            let sum: f64 = (0..depth)
                                .map(|inner| at(left, row, inner) * at(right, inner, column))
                                .sum();
                            let found = f64::from(target[row * stride + column]);
                            let error = (found - (1.0 + 0.5 * sum)).abs();
                            assert!(
                                error < 1e-5 * (depth as f64).sqrt(),
                                "{rows}x{depth}x{columns}: {error}"
                            );
                        }
                        assert_eq!(
                            target[row * stride + columns..][..3],
                            [1.0; 3],
                            "what lies between"
                        );
                    }
                    let bits: Vec<u32> = target.iter().map(|number| number.to_bits()).collect();
                    assert!(
                        seen.is_none_or(|seen| seen == bits),
                        "the same bits with all vectors"
                    );
                    seen = Some(bits);
                }
            }
        }
    }
}
