//! Pieces of matrices laid out as the tiles of a product read them.
//!
//! Rule: pieces are filled up to whole tiles with numbers of any value, whose sums nobody takes, so that tiles need
//! not know the edges of a matrix.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::{View, scratch::Scratch, tile::WIDEST};

/// Rows of a tile.
pub(super) const TILE: usize = 8;
/// Of the inner length how much a piece has: a panel of it fits the cache of a core.
pub(super) const DEPTH: usize = 256;
/// From a packed row to the next: no power of two, so that the rows of a tile do not share places of the cache.
pub(super) const PITCH: usize = DEPTH + 16;
/// Rows and columns that are transposed at once.
pub(super) const BLOCK: usize = 16;
/// Panels that are used again and again before the next: 400 KiB.
const GROUP: usize = 8;
/// Packed rows that one task makes.
const SHARE: usize = 32;

/// A piece of a row.
pub(super) type Row = [f32; PITCH];

/// Columns that stand beside each other in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    pub(super) first: usize,
    /// Columns of the matrix.
    pub(super) count: usize,
    /// Columns of the piece, a multiple of the lanes.
    pub(super) width: usize,
}

/// The panels of `columns`, each as wide as may be.
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

/// All of `matrix` `[n, depth]` within `inner`: for each piece of the inner length all rows, filled up to whole tiles.
pub(super) fn all_rows(arch: Arch, matrix: View<'_>, inner: Range<usize>) -> Scratch<Row> {
    let count = matrix.shape[0];
    let padded = count.next_multiple_of(TILE);
    let mut packed = Scratch::<Row>::new(padded * inner.len().div_ceil(DEPTH));
    let shares = packed
        .chunks_exact_mut(padded)
        .enumerate()
        .flat_map(|(block, rows)| {
            let shares = rows.chunks_mut(SHARE).enumerate();
            shares.map(move |(share, rows)| (block, share * SHARE, rows))
        });
    let shares: Vec<(usize, usize, &mut [Row])> = shares.collect();
    shares.into_par_iter().for_each(|(block, first, target)| {
        let start = inner.start + block * DEPTH;
        let inner = start..inner.end.min(start + DEPTH);
        super::vectorised(
            #[inline(always)]
            || rows(arch, matrix, inner, first..count.min(first + SHARE), target),
        );
    });
    packed
}

/// Some rows of `matrix` within `inner`, at most [`DEPTH`] long.
#[inline(always)]
pub(super) fn rows(
    arch: Arch,
    matrix: View<'_>,
    inner: Range<usize>,
    some: Range<usize>,
    target: &mut [Row],
) {
    let [down, across] = matrix.strides;
    if across == 1 {
        for (row, target) in some.zip(target) {
            copy(
                &matrix.numbers[row * down + inner.start..],
                &mut target[..inner.len()],
            );
        }
        return;
    }
    for first in some.clone().step_by(BLOCK) {
        let count = BLOCK.min(some.end - first);
        for start in inner.clone().step_by(BLOCK) {
            let length = BLOCK.min(inner.end - start);
            let block = transposed(
                arch,
                &matrix.numbers[start * across + first * down..],
                across,
                [length, count],
            );
            let targets = &mut target[first - some.start..][..count];
            for (target, row) in targets.iter_mut().zip(&block) {
                put_block(&mut target[start - inner.start..], row, length);
            }
        }
    }
}

/// All panels of a matrix.
pub(super) struct Panels {
    numbers: Scratch<f32>,
    panels: Vec<Panel>,
    /// Of all panels.
    pub(super) width: usize,
}

impl Panels {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.panels.len()
    }

    /// The panels of a piece of the inner length, as many at a time as fit the cache of a core.
    pub(super) fn groups(
        &self,
        block: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = (Panel, &[f32])> + Clone> {
        let numbers = &self.numbers[block * self.width * DEPTH..];
        self.panels.chunks(GROUP).map(move |panels| {
            panels.iter().map(move |panel| {
                let start = panel.first * DEPTH;
                (*panel, &numbers[start..start + panel.width * DEPTH])
            })
        })
    }
}

/// All of `matrix` `[depth, n]` within `inner`.
pub(super) fn all_panels(
    arch: Arch,
    matrix: View<'_>,
    inner: Range<usize>,
    widest: usize,
    lanes: usize,
) -> Panels {
    let panels = panels(matrix.shape[1], widest, lanes);
    let width = panels.iter().map(|panel| panel.width).sum::<usize>();
    let mut numbers = Scratch::<f32>::new(width * DEPTH * inner.len().div_ceil(DEPTH));
    let mut shares = Vec::new();
    for (block, mut rest) in numbers.chunks_exact_mut(width * DEPTH).enumerate() {
        for panel in &panels {
            let target;
            (target, rest) = rest.split_at_mut(panel.width * DEPTH);
            shares.push((block, *panel, target));
        }
    }
    shares.into_par_iter().for_each(|(block, one, target)| {
        let start = inner.start + block * DEPTH;
        let inner = start..inner.end.min(start + DEPTH);
        super::vectorised(
            #[inline(always)]
            || panel(arch, matrix, inner, one, target),
        );
    });
    Panels {
        numbers,
        panels,
        width,
    }
}

/// The columns `panel` of `matrix` `[depth, n]` within `inner`, at most [`DEPTH`] long: `[inner, width]`.
#[inline(always)]
pub(super) fn panel(arch: Arch, matrix: View<'_>, inner: Range<usize>, panel: Panel, target: &mut [f32]) {
    let [down, across] = matrix.strides;
    let rows = target.chunks_exact_mut(panel.width);
    if across == 1 {
        for (row, target) in inner.zip(rows) {
            let source = &matrix.numbers[row * down + panel.first..][..panel.count];
            copy(source, &mut target[..panel.count]);
        }
        return;
    }
    for first in (0..panel.count).step_by(BLOCK) {
        let count = BLOCK.min(panel.count - first);
        for start in inner.clone().step_by(BLOCK) {
            let length = BLOCK.min(inner.end - start);
            let source = &matrix.numbers[(panel.first + first) * across + start * down..];
            let block = transposed(arch, source, across, [count, length]);
            let targets = target[(start - inner.start) * panel.width..].chunks_exact_mut(panel.width);
            for (target, row) in targets.zip(&block).take(length) {
                put_block(&mut target[first..], row, count);
            }
        }
    }
}

/// The start of `target` ← the first `count` numbers of `row`.
#[inline(always)]
fn put_block(target: &mut [f32], row: &[f32; BLOCK], count: usize) {
    match target.first_chunk_mut::<BLOCK>() {
        Some(target) if count == BLOCK => *target = *row,
        _ => target[..count].copy_from_slice(&row[..count]),
    }
}

/// Panels that stand beside each other from column `first` of `matrix` on, within `inner`: one after the other.
#[inline(always)]
pub(super) fn side_by_side(
    arch: Arch,
    matrix: View<'_>,
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
            (target, rest) = rest.split_at_mut(one.width * DEPTH);
            let source = Panel {
                first: first + one.first,
                ..*one
            };
            panel(arch, matrix, inner.clone(), source, target);
        }
        return;
    }
    // Whole rows, so that memory is read as it lies.
    for (place, row) in inner.enumerate() {
        let source = &matrix.numbers[row * down + first..];
        for panel in panels {
            let start = panel.first * DEPTH + place * panel.width;
            let target = &mut target[start..start + panel.width];
            match (
                source[panel.first..].first_chunk::<WIDEST>(),
                target.first_chunk_mut::<WIDEST>(),
            ) {
                (Some(source), Some(target)) if panel.count == WIDEST => *target = *source,
                _ => copy(&source[panel.first..], &mut target[..panel.count]),
            }
        }
    }
}

/// `target` ← the start of `source`.
#[inline(always)]
fn copy(source: &[f32], target: &mut [f32]) {
    let (pieces, rest) = target.as_chunks_mut::<BLOCK>();
    let (sources, tail) = source.as_chunks::<BLOCK>();
    let count = pieces.len();
    for (target, source) in pieces.iter_mut().zip(sources) {
        *target = *source;
    }
    let tail = if sources.len() > count {
        &source[count * BLOCK..]
    } else {
        tail
    };
    for (target, source) in rest.iter_mut().zip(tail) {
        *target = *source;
    }
}

/// The transposed of `rows` by `columns` numbers at the start of `source`, whose rows are `stride` apart; at most
/// [`BLOCK`] each.
#[inline(always)]
pub(super) fn transposed(
    arch: Arch,
    source: &[f32],
    stride: usize,
    [rows, columns]: [usize; 2],
) -> [[f32; BLOCK]; BLOCK] {
    let mut block = [[0.0; BLOCK]; BLOCK];
    for (row, target) in block.iter_mut().enumerate().take(rows) {
        let source = &source[row * stride..];
        match source.first_chunk::<BLOCK>() {
            Some(source) if columns == BLOCK => *target = *source,
            _ => target[..columns].copy_from_slice(&source[..columns]),
        }
    }
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => shuffled(simd, block),
        _ => std::array::from_fn(|row| std::array::from_fn(|column| block[column][row])),
    }
}

/// The transposed `block`, in pairs, then fours, then all.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn shuffled(simd: pulp::x86::V4, block: [[f32; BLOCK]; BLOCK]) -> [[f32; BLOCK]; BLOCK] {
    const LOW: i32 = 0b01_00_01_00;
    const HIGH: i32 = 0b11_10_11_10;
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let avx = simd.avx512f;
    let rows: [std::arch::x86_64::__m512; BLOCK] = block.map(pulp::cast);
    let mut pairs = rows;
    for two in 0..BLOCK / 2 {
        let [first, second] = [rows[2 * two], rows[2 * two + 1]];
        pairs[2 * two] = avx._mm512_unpacklo_ps(first, second);
        pairs[2 * two + 1] = avx._mm512_unpackhi_ps(first, second);
    }
    // Four rows each; their number n has column n, n + 4, n + 8 and n + 12.
    let mut fours = pairs;
    for four in 0..BLOCK / 4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| pairs[4 * four + row]);
        fours[4 * four] = avx._mm512_shuffle_ps::<LOW>(a, c);
        fours[4 * four + 1] = avx._mm512_shuffle_ps::<HIGH>(a, c);
        fours[4 * four + 2] = avx._mm512_shuffle_ps::<LOW>(b, d);
        fours[4 * four + 3] = avx._mm512_shuffle_ps::<HIGH>(b, d);
    }
    let mut all = fours;
    for column in 0..BLOCK / 4 {
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
