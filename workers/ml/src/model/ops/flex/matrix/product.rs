//! Products of large matrices: tiles of sums in vector registers over packed pieces that fit the caches.
//!
//! One side of a tile is spread over a vector (`panels`), the other is repeated in all its lanes (`rows`). Rules:
//! every sum is taken in the order of the inner length, in pieces of [`DEPTH`], whatever the tiles, the threads
//! and the width of the vectors are; no vector instructions, no product here: [`is_for`] says so.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    View,
    ahead::Ahead,
    pack::{self, BLOCK, DEPTH, Row, TILE},
    scratch::Scratch,
    tile::{LANES, Place, VECTORS, WIDEST, put, tile},
};

/// Of the inner length how much is packed at once: what both sides need of memory at most.
const PACKED: usize = 8 * DEPTH;
/// Products with less than this on a side are left to `gemm`.
const LEAST: usize = 24;
/// Products with fewer rows are bound by memory, and `gemm` reads rows of a matrix once.
const ROWS: usize = 17;
/// Tasks that columns are cut into where they are enough.
const TASKS: usize = 32;
/// Columns of a task at least: fewer are read in pieces too short for the memory.
const NARROWEST: usize = 2 * WIDEST;
/// Columns that one task takes as rows.
const SHARE: usize = 64;
/// With more rows packing is a small part of the work, and `gemm` as fast.
const MANY: usize = 384;

/// What is computed: `target = (target +) scale · left · right`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) add: bool,
    pub(super) scale: f32,
    pub(super) left: View<'a>,
    pub(super) right: View<'a>,
}

/// Whether this machine and these shapes are for tiles.
pub(super) fn is_for(left: View<'_>, right: View<'_>) -> bool {
    let ([rows, depth], columns) = (left.shape, right.shape[1]);
    let gains = rows <= MANY || is_turned(left, right);
    gains && rows >= ROWS && depth >= LEAST && columns >= LEAST && lanes(Arch::new()) > 0
}

/// Whether the right matrix is better left as it stands: one that lies across is packed slower than its product is
/// written across.
fn is_turned(left: View<'_>, right: View<'_>) -> bool {
    let ([rows, depth], columns) = (left.shape, right.shape[1]);
    right.strides[1] != 1 && rows * (depth + columns) < depth * columns
}

/// Numbers of a vector, where its products and sums are one instruction; else 0.
pub(super) fn lanes(arch: Arch) -> usize {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => 8,
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => LANES,
        _ => 0,
    }
}

/// Computes `product` into `target`, whose rows are `stride` apart.
pub(super) fn multiply(arch: Arch, target: &mut [f32], stride: usize, product: Product<'_>) {
    let ([rows, depth], columns) = (product.left.shape, product.right.shape[1]);
    let mut target: Vec<&mut [f32]> = target
        .chunks_mut(stride)
        .take(rows)
        .map(|row| &mut row[..columns])
        .collect();
    for start in (0..depth).step_by(PACKED) {
        let inner = start..depth.min(start + PACKED);
        let product = Product {
            add: product.add || start > 0,
            ..product
        };
        if is_turned(product.left, product.right) {
            turned(arch, &mut target, product, inner);
        } else {
            column_by_column(arch, &mut target, product, inner);
        }
    }
}

/// The columns of each task in each row of `target`.
pub(super) fn cut<'t>(target: &'t mut [&mut [f32]], columns: usize, width: usize) -> Vec<Vec<&'t mut [f32]>> {
    let mut tasks: Vec<Vec<&mut [f32]>> = (0..columns.div_ceil(width))
        .map(|_| Vec::with_capacity(target.len()))
        .collect();
    for row in target {
        for (task, part) in tasks.iter_mut().zip(row.chunks_mut(width)) {
            task.push(part);
        }
    }
    tasks
}

/// Columns of the right matrix as the rows of tiles.
fn turned(arch: Arch, target: &mut [&mut [f32]], product: Product<'_>, inner: Range<usize>) {
    let panels = pack::all_panels(
        arch,
        product.left.transposed(),
        inner.clone(),
        VECTORS * lanes(arch),
        lanes(arch),
    );
    let matrix = product.right.transposed();
    let columns = matrix.shape[0];
    let tasks = cut(target, columns, SHARE).into_par_iter().enumerate();
    tasks.for_each(|(task, mut out)| {
        arch.dispatch(Turned {
            arch,
            product,
            matrix,
            panels: &panels,
            rows: task * SHARE..columns.min((task + 1) * SHARE),
            inner: inner.clone(),
            out: &mut out,
        });
    });
}

/// Rows of the left matrix as the rows of tiles, and the panels shared out among the tasks.
fn column_by_column(arch: Arch, target: &mut [&mut [f32]], product: Product<'_>, inner: Range<usize>) {
    let columns = product.right.shape[1];
    let width = columns
        .div_ceil(TASKS)
        .next_multiple_of(WIDEST)
        .clamp(NARROWEST, 8 * WIDEST);
    let rows = pack::all_rows(arch, product.left, inner.clone());
    let tasks = cut(target, columns, width).into_par_iter().enumerate();
    tasks.for_each(|(task, mut out)| {
        arch.dispatch(Straight {
            arch,
            product,
            rows: &rows,
            first: task * width,
            inner: inner.clone(),
            out: &mut out,
        });
    });
}

/// The piece that is packed after `inner`, and whether it is the next task's first, because `inner` is the last of
/// `all`.
fn after(inner: &Range<usize>, all: &Range<usize>) -> (Range<usize>, bool) {
    let is_last = inner.end == all.end;
    let start = if is_last { all.start } else { inner.end };
    (start..all.end.min(start + DEPTH), is_last)
}

/// A task whose rows are those of the left matrix.
struct Straight<'a, 't> {
    arch: Arch,
    product: Product<'a>,
    /// Of the whole left matrix: see [`pack::all_rows`].
    rows: &'a [Row],
    /// The first column.
    first: usize,
    /// The part of the inner length.
    inner: Range<usize>,
    /// The task's columns of each row.
    out: &'a mut [&'t mut [f32]],
}

impl WithSimd for Straight<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = size_of::<S::f32s>() / size_of::<f32>();
        let columns = self.out.first().map_or(0, |row| row.len());
        let padded = self.out.len().next_multiple_of(TILE);
        let panels = pack::panels(columns, VECTORS * lanes, lanes);
        let mut packed = Scratch::<f32>::new(panels.iter().map(|panel| panel.width).sum::<usize>() * DEPTH);
        let blocks = self.inner.clone().step_by(DEPTH).enumerate();
        for ((block, start), rows) in blocks.zip(self.rows.chunks_exact(padded)) {
            let inner = start..self.inner.end.min(start + DEPTH);
            pack::side_by_side(
                self.arch,
                self.product.right,
                inner.clone(),
                self.first,
                &panels,
                &mut packed,
            );
            // The piece that is packed next, or where the task after this one will begin.
            let (next, is_last) = after(&inner, &self.inner);
            let first = if is_last { self.first + columns } else { self.first };
            let mut ahead = Ahead::of(self.product.right, next, first..first + columns);
            let lines = ahead.lines().div_ceil(padded / TILE * panels.len());
            let add = self.product.add || block > 0;
            for (rows, out) in rows.chunks_exact(TILE).zip(self.out.chunks_mut(TILE)) {
                let mut rest = &packed[..];
                for panel in &panels {
                    let numbers;
                    (numbers, rest) = rest.split_at(panel.width * DEPTH);
                    ahead.ask(lines);
                    let place = Place {
                        out,
                        first: panel.first,
                        count: panel.count,
                        scale: self.product.scale,
                        add,
                    };
                    tile(
                        simd,
                        rows,
                        &numbers[..panel.width * inner.len()],
                        panel.width,
                        place,
                    );
                }
            }
        }
    }
}

/// A task that takes some columns of the right matrix as the rows of its tiles.
struct Turned<'a, 't> {
    arch: Arch,
    product: Product<'a>,
    /// The right matrix transposed.
    matrix: View<'a>,
    /// Of the whole left matrix transposed: see [`pack::all_panels`].
    panels: &'a pack::Panels,
    /// The rows of `matrix`.
    rows: Range<usize>,
    /// The part of the inner length.
    inner: Range<usize>,
    /// Their columns of each row of the target.
    out: &'a mut [&'t mut [f32]],
}

impl WithSimd for Turned<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            arch,
            product: Product { add, scale, .. },
            ..
        } = self;
        let (count, width) = (self.rows.len(), self.panels.width);
        let mut packed = Scratch::<Row>::new(count.next_multiple_of(TILE));
        // The product of the task, transposed.
        let mut turned = Scratch::<f32>::new(count * width);
        let mut sums: Vec<&mut [f32]> = turned.chunks_exact_mut(width).collect();
        for (block, start) in self.inner.clone().step_by(DEPTH).enumerate() {
            let inner = start..self.inner.end.min(start + DEPTH);
            let depth = inner.len();
            let (next, is_last) = after(&inner, &self.inner);
            let rows = if is_last {
                self.rows.end..self.rows.end + SHARE
            } else {
                self.rows.clone()
            };
            let mut ahead = Ahead::of(self.matrix, rows, next);
            let lines = ahead.lines().div_ceil(packed.len() / TILE * self.panels.count());
            pack::rows(arch, self.matrix, inner, self.rows.clone(), &mut packed);
            for panels in self.panels.groups(block) {
                for (out, rows) in sums.chunks_mut(TILE).zip(packed.chunks_exact(TILE)) {
                    for (panel, numbers) in panels.clone() {
                        ahead.ask(lines);
                        let place = Place {
                            out,
                            first: panel.first,
                            count: panel.width,
                            scale: 1.0,
                            add: block > 0,
                        };
                        tile(simd, rows, &numbers[..panel.width * depth], panel.width, place);
                    }
                }
            }
        }
        for (group, out) in self.out.chunks_mut(BLOCK).enumerate() {
            for first in (0..count).step_by(BLOCK) {
                let source = &turned[first * width + group * BLOCK..];
                let shape = [BLOCK.min(count - first), out.len()];
                let across = pack::transposed(arch, source, width, shape);
                for (out, across) in out.iter_mut().zip(&across) {
                    match out[first..].first_chunk_mut::<BLOCK>() {
                        Some(out) if shape[0] == BLOCK => put(out, across, scale, add),
                        _ => put(&mut out[first..first + shape[0]], across, scale, add),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let number = |at: usize| ((at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) as f32;
        (0..count).map(|at| number(at) / 32_768.0 - 1.0).collect()
    }

    /// What vector instructions this machine has; nothing to test where there are none.
    fn machines() -> Vec<Arch> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(Arch::V3));
            all.extend(pulp::x86::V4::try_new().map(Arch::V4));
        }
        all
    }

    /// Each layout, and each way: few and many rows, edges of tiles, panels and pieces, more than is packed at once.
    #[test]
    fn products_are_those_of_sums_and_the_same_with_all_vectors() {
        for [rows, depth, columns] in [
            [2, 24, 24],
            [8, 40, 500],
            [9, 257, 49],
            [50, 300, 130],
            [65, 515, 100],
            [400, 70, 61],
            [3, PACKED + 5, 30],
        ] {
            let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
            let lefts = [
                View::rows(&a, [rows, depth]),
                View::rows(&a, [depth, rows]).transposed(),
            ];
            let rights = [
                View::rows(&b, [depth, columns]),
                View::rows(&b, [columns, depth]).transposed(),
            ];
            for (left, right) in lefts.iter().flat_map(|left| rights.map(|right| (*left, right))) {
                let at = |view: View<'_>, row: usize, column: usize| {
                    f64::from(view.numbers[row * view.strides[0] + column * view.strides[1]])
                };
                let mut seen: Option<Vec<u32>> = None;
                for arch in machines() {
                    let stride = columns + 3;
                    let mut target = vec![1.0; rows * stride];
                    let product = Product {
                        add: true,
                        scale: 0.5,
                        left,
                        right,
                    };
                    multiply(arch, &mut target, stride, product);
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
