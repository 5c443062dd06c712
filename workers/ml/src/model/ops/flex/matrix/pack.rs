//! Packing of matrices into the layout that tiles read.
//!
//! Rule: packed blocks are padded to whole tiles with arbitrary values whose sums are not used, so tiles need not
//! handle the edges of a matrix.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::{
    super::simd::vectorized,
    layout::{BLOCK_DEPTH, MAX_TILE_COLUMNS, PackedRow, TILE_ROWS},
    scratch::Scratch,
    view::MatrixView,
};

/// Size of the blocks that are transposed at once.
pub(super) const TRANSPOSE_BLOCK: usize = 16;
/// Panels that are reused before the next ones are loaded: 400 KiB.
const PANELS_PER_GROUP: usize = 8;
/// Packed rows per task.
const TASK_ROWS: usize = 32;

/// Adjacent columns of a packed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    pub(super) first: usize,
    /// Columns of the matrix.
    pub(super) count: usize,
    /// Columns of the panel, a multiple of the number of lanes.
    pub(super) width: usize,
}

/// Splits `columns` into panels of at most `widest` columns.
pub(super) fn panels(columns: usize, widest: usize, lanes: usize) -> Vec<Panel> {
    let panel = |first: usize| {
        let count = widest.min(columns - first);
        Panel {
            first,
            count,
            width: count.next_multiple_of(lanes),
        }
    };
    (0..columns).step_by(widest).map(panel).collect()
}

/// Packs all rows of `matrix` `[n, depth]` within `inner`: for each block of the inner dimension all rows, padded to
/// whole tiles.
pub(super) fn pack_all_rows(arch: Arch, matrix: MatrixView<'_>, inner: Range<usize>) -> Scratch<PackedRow> {
    let count = matrix.shape[0];
    let padded = count.next_multiple_of(TILE_ROWS);
    let mut packed = Scratch::<PackedRow>::new(padded * inner.len().div_ceil(BLOCK_DEPTH));
    let shares = packed
        .chunks_exact_mut(padded)
        .enumerate()
        .flat_map(|(block, rows)| {
            let shares = rows.chunks_mut(TASK_ROWS).enumerate();
            shares.map(move |(share, rows)| (block, share * TASK_ROWS, rows))
        });
    let shares: Vec<(usize, usize, &mut [PackedRow])> = shares.collect();
    shares.into_par_iter().for_each(|(block, first, target)| {
        let start = inner.start + block * BLOCK_DEPTH;
        let inner = start..inner.end.min(start + BLOCK_DEPTH);
        vectorized(
            #[inline(always)]
            || rows(arch, matrix, inner, first..count.min(first + TASK_ROWS), target),
        );
    });
    packed
}

/// Packs the rows `some` of `matrix` within `inner`, at most [`BLOCK_DEPTH`] elements each.
#[inline(always)]
pub(super) fn rows(
    arch: Arch,
    matrix: MatrixView<'_>,
    inner: Range<usize>,
    some: Range<usize>,
    target: &mut [PackedRow],
) {
    let [down, across] = matrix.strides;
    if across == 1 {
        for (row, target) in some.zip(target) {
            copy(
                &matrix.data[row * down + inner.start..],
                &mut target[..inner.len()],
            );
        }
        return;
    }
    for first in some.clone().step_by(TRANSPOSE_BLOCK) {
        let count = TRANSPOSE_BLOCK.min(some.end - first);
        for start in inner.clone().step_by(TRANSPOSE_BLOCK) {
            let length = TRANSPOSE_BLOCK.min(inner.end - start);
            let block = transposed(
                arch,
                &matrix.data[start * across + first * down..],
                across,
                [length, count],
            );
            let targets = &mut target[first - some.start..][..count];
            for (target, row) in targets.iter_mut().zip(&block) {
                store_block(&mut target[start - inner.start..], row, length);
            }
        }
    }
}

/// All packed panels of a matrix.
pub(super) struct Panels {
    data: Scratch<f32>,
    panels: Vec<Panel>,
    /// Total width of the panels.
    pub(super) width: usize,
}

impl Panels {
    /// Number of panels.
    pub(super) fn count(&self) -> usize {
        self.panels.len()
    }

    /// The panels of a block of the inner dimension, in groups that fit a core's L2 cache.
    pub(super) fn groups(
        &self,
        block: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = (Panel, &[f32])> + Clone> {
        let data = &self.data[block * self.width * BLOCK_DEPTH..];
        self.panels.chunks(PANELS_PER_GROUP).map(move |panels| {
            panels.iter().map(move |panel| {
                let start = panel.first * BLOCK_DEPTH;
                (*panel, &data[start..start + panel.width * BLOCK_DEPTH])
            })
        })
    }
}

/// Packs all panels of `matrix` `[depth, n]` within `inner`.
pub(super) fn pack_all_panels(
    arch: Arch,
    matrix: MatrixView<'_>,
    inner: Range<usize>,
    widest: usize,
    lanes: usize,
) -> Panels {
    let panels = panels(matrix.shape[1], widest, lanes);
    let width = panels.iter().map(|panel| panel.width).sum::<usize>();
    let mut data = Scratch::<f32>::new(width * BLOCK_DEPTH * inner.len().div_ceil(BLOCK_DEPTH));
    let mut shares = Vec::new();
    for (block, mut rest) in data.chunks_exact_mut(width * BLOCK_DEPTH).enumerate() {
        for panel in &panels {
            let target;
            (target, rest) = rest.split_at_mut(panel.width * BLOCK_DEPTH);
            shares.push((block, *panel, target));
        }
    }
    shares.into_par_iter().for_each(|(block, one, target)| {
        let start = inner.start + block * BLOCK_DEPTH;
        let inner = start..inner.end.min(start + BLOCK_DEPTH);
        vectorized(
            #[inline(always)]
            || panel(arch, matrix, inner, one, target),
        );
    });
    Panels { data, panels, width }
}

/// Packs the columns `panel` of `matrix` `[depth, n]` within `inner`, at most [`BLOCK_DEPTH`] rows: `[inner, width]`.
#[inline(always)]
pub(super) fn panel(
    arch: Arch,
    matrix: MatrixView<'_>,
    inner: Range<usize>,
    panel: Panel,
    target: &mut [f32],
) {
    let [down, across] = matrix.strides;
    let rows = target.chunks_exact_mut(panel.width);
    if across == 1 {
        for (row, target) in inner.zip(rows) {
            let source = &matrix.data[row * down + panel.first..][..panel.count];
            copy(source, &mut target[..panel.count]);
        }
        return;
    }
    for first in (0..panel.count).step_by(TRANSPOSE_BLOCK) {
        let count = TRANSPOSE_BLOCK.min(panel.count - first);
        for start in inner.clone().step_by(TRANSPOSE_BLOCK) {
            let length = TRANSPOSE_BLOCK.min(inner.end - start);
            let source = &matrix.data[(panel.first + first) * across + start * down..];
            let block = transposed(arch, source, across, [count, length]);
            let targets = target[(start - inner.start) * panel.width..].chunks_exact_mut(panel.width);
            for (target, row) in targets.zip(&block).take(length) {
                store_block(&mut target[first..], row, count);
            }
        }
    }
}

/// Copies the first `count` elements of `row` to `target`.
#[inline(always)]
fn store_block(target: &mut [f32], row: &[f32; TRANSPOSE_BLOCK], count: usize) {
    match target.first_chunk_mut::<TRANSPOSE_BLOCK>() {
        Some(target) if count == TRANSPOSE_BLOCK => *target = *row,
        _ => target[..count].copy_from_slice(&row[..count]),
    }
}

/// Packs adjacent panels of `matrix` within `inner`, beginning at column `first`, one after the other.
#[inline(always)]
pub(super) fn pack_panel_row(
    arch: Arch,
    matrix: MatrixView<'_>,
    inner: Range<usize>,
    first: usize,
    panels: &[Panel],
    target: &mut [f32],
) {
    let [down, across] = matrix.strides;
    if across != 1 {
        let mut rest = target;
        for one in panels {
            let target;
            (target, rest) = rest.split_at_mut(one.width * BLOCK_DEPTH);
            let source = Panel {
                first: first + one.first,
                ..*one
            };
            panel(arch, matrix, inner.clone(), source, target);
        }
        return;
    }
    // Row by row, so that memory is read sequentially.
    for (place, row) in inner.enumerate() {
        let source = &matrix.data[row * down + first..];
        for panel in panels {
            let start = panel.first * BLOCK_DEPTH + place * panel.width;
            let target = &mut target[start..start + panel.width];
            match (
                source[panel.first..].first_chunk::<MAX_TILE_COLUMNS>(),
                target.first_chunk_mut::<MAX_TILE_COLUMNS>(),
            ) {
                (Some(source), Some(target)) if panel.count == MAX_TILE_COLUMNS => *target = *source,
                _ => copy(&source[panel.first..], &mut target[..panel.count]),
            }
        }
    }
}

/// Fills `target` with the beginning of `source`.
#[inline(always)]
fn copy(source: &[f32], target: &mut [f32]) {
    let (pieces, rest) = target.as_chunks_mut::<TRANSPOSE_BLOCK>();
    let (sources, tail) = source.as_chunks::<TRANSPOSE_BLOCK>();
    let count = pieces.len();
    for (target, source) in pieces.iter_mut().zip(sources) {
        *target = *source;
    }
    let tail = if sources.len() > count {
        &source[count * TRANSPOSE_BLOCK..]
    } else {
        tail
    };
    for (target, source) in rest.iter_mut().zip(tail) {
        *target = *source;
    }
}

/// Transposes a block of `rows` by `columns` elements at the beginning of `source`, whose rows are `stride` elements
/// apart; at most [`TRANSPOSE_BLOCK`] each.
#[inline(always)]
pub(super) fn transposed(
    arch: Arch,
    source: &[f32],
    stride: usize,
    [rows, columns]: [usize; 2],
) -> [[f32; TRANSPOSE_BLOCK]; TRANSPOSE_BLOCK] {
    let mut block = [[0.0; TRANSPOSE_BLOCK]; TRANSPOSE_BLOCK];
    for (row, target) in block.iter_mut().enumerate().take(rows) {
        let source = &source[row * stride..];
        match source.first_chunk::<TRANSPOSE_BLOCK>() {
            Some(source) if columns == TRANSPOSE_BLOCK => *target = *source,
            _ => target[..columns].copy_from_slice(&source[..columns]),
        }
    }
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => transpose_avx512(simd, block),
        _ => std::array::from_fn(|row| std::array::from_fn(|column| block[column][row])),
    }
}

/// Transposes `block`: first pairs of rows, then groups of four, then all.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_avx512(
    simd: pulp::x86::V4,
    block: [[f32; TRANSPOSE_BLOCK]; TRANSPOSE_BLOCK],
) -> [[f32; TRANSPOSE_BLOCK]; TRANSPOSE_BLOCK] {
    const LOW: i32 = 0b01_00_01_00;
    const HIGH: i32 = 0b11_10_11_10;
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let avx = simd.avx512f;
    let rows: [std::arch::x86_64::__m512; TRANSPOSE_BLOCK] = block.map(pulp::cast);
    let mut pairs = rows;
    for two in 0..TRANSPOSE_BLOCK / 2 {
        let [first, second] = [rows[2 * two], rows[2 * two + 1]];
        pairs[2 * two] = avx._mm512_unpacklo_ps(first, second);
        pairs[2 * two + 1] = avx._mm512_unpackhi_ps(first, second);
    }
    // Four rows each; their vector n contains columns n, n + 4, n + 8 and n + 12.
    let mut fours = pairs;
    for four in 0..TRANSPOSE_BLOCK / 4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| pairs[4 * four + row]);
        fours[4 * four] = avx._mm512_shuffle_ps::<LOW>(a, c);
        fours[4 * four + 1] = avx._mm512_shuffle_ps::<HIGH>(a, c);
        fours[4 * four + 2] = avx._mm512_shuffle_ps::<LOW>(b, d);
        fours[4 * four + 3] = avx._mm512_shuffle_ps::<HIGH>(b, d);
    }
    let mut all = fours;
    for column in 0..TRANSPOSE_BLOCK / 4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|four| fours[four + column]);
        let (even, odd) = (
            avx._mm512_shuffle_f32x4::<EVEN>(a, b),
            avx._mm512_shuffle_f32x4::<ODD>(a, b),
        );
        let (more, most) = (
            avx._mm512_shuffle_f32x4::<EVEN>(c, d),
            avx._mm512_shuffle_f32x4::<ODD>(c, d),
        );
        all[column] = avx._mm512_shuffle_f32x4::<EVEN>(even, more);
        all[column + 8] = avx._mm512_shuffle_f32x4::<ODD>(even, more);
        all[column + 4] = avx._mm512_shuffle_f32x4::<EVEN>(odd, most);
        all[column + 12] = avx._mm512_shuffle_f32x4::<ODD>(odd, most);
    }
    all.map(pulp::cast)
}
