//! Tiles of a product: sums that stay in vector registers for a whole piece of the inner length.

use pulp::Simd;

use super::{
    ahead,
    pack::{DEPTH, Row, TILE},
};

/// Vectors that a tile is wide.
pub(super) const VECTORS: usize = 3;
/// Numbers of the widest vector.
pub(super) const LANES: usize = 16;
/// Numbers that a tile is wide at most.
pub(super) const WIDEST: usize = VECTORS * LANES;

/// Where the sums of a tile go.
pub(super) struct Place<'a, 't> {
    /// The rows, at most [`TILE`].
    pub(super) out: &'a mut [&'t mut [f32]],
    /// The first column, and how many there are.
    pub(super) first: usize,
    pub(super) count: usize,
    /// `out = (out +) scale · sums`.
    pub(super) scale: f32,
    pub(super) add: bool,
}

/// `out = (out +) scale · sums`.
#[inline(always)]
pub(super) fn put(out: &mut [f32], sums: &[f32], scale: f32, add: bool) {
    if add {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += scale * sum;
        }
    } else {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = scale * sum;
        }
    }
}

/// Puts the sums over the inner length of [`TILE`] `rows` times a `panel` that is `width` wide in their `place`.
#[inline(always)]
pub(super) fn tile<S: Simd>(simd: S, rows: &[Row], panel: &[f32], width: usize, place: Place<'_, '_>) {
    let lanes = size_of::<S::f32s>() / size_of::<f32>();
    for row in &*place.out {
        ahead::near(&row[place.first..][..place.count]);
    }
    // 24 of 32 registers of AVX-512, 12 of 16 of AVX2.
    if lanes == LANES {
        part::<S, TILE>(simd, rows, panel, width / lanes, place);
    } else {
        let halves = rows.chunks_exact(TILE / 2).zip(place.out.chunks_mut(TILE / 2));
        for (rows, out) in halves {
            part::<S, { TILE / 2 }>(simd, rows, panel, width / lanes, Place { out, ..place });
        }
    }
}

#[inline(always)]
fn part<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[Row],
    panel: &[f32],
    vectors: usize,
    place: Place<'_, '_>,
) {
    match vectors {
        3 => registers::<S, ROWS, 3>(simd, rows, panel, place),
        2 => registers::<S, ROWS, 2>(simd, rows, panel, place),
        _ => registers::<S, ROWS, 1>(simd, rows, panel, place),
    }
}

#[inline(always)]
fn registers<S: Simd, const ROWS: usize, const WIDE: usize>(
    simd: S,
    rows: &[Row],
    panel: &[f32],
    place: Place<'_, '_>,
) {
    let lanes = size_of::<S::f32s>() / size_of::<f32>();
    let Some(rows) = rows.first_chunk::<ROWS>() else {
        return;
    };
    let mut registers = [[simd.splat_f32s(0.0); WIDE]; ROWS];
    for (place, numbers) in panel.chunks_exact(WIDE * lanes).take(DEPTH).enumerate() {
        let Some(numbers) = S::as_simd_f32s(numbers).0.first_chunk::<WIDE>() else {
            return;
        };
        for (registers, row) in registers.iter_mut().zip(rows) {
            let repeated = simd.splat_f32s(row[place]);
            for (register, numbers) in registers.iter_mut().zip(numbers) {
                *register = simd.mul_add_f32s(repeated, *numbers, *register);
            }
        }
    }
    let Place {
        out,
        first,
        count,
        scale,
        add,
    } = place;
    let scales = simd.splat_f32s(scale);
    for (out, sums) in out.iter_mut().zip(&registers) {
        let out = &mut out[first..first + count];
        match S::as_mut_simd_f32s(out) {
            (vectors, []) if vectors.len() == WIDE => {
                for (vector, sums) in vectors.iter_mut().zip(sums) {
                    let scaled = simd.mul_f32s(scales, *sums);
                    *vector = if add {
                        simd.add_f32s(*vector, scaled)
                    } else {
                        scaled
                    };
                }
            }
            _ => {
                let mut edge = [0.0; WIDEST];
                for (vector, sums) in S::as_mut_simd_f32s(&mut edge).0.iter_mut().zip(sums) {
                    *vector = *sums;
                }
                put(out, &edge, scale, add);
            }
        }
    }
}
