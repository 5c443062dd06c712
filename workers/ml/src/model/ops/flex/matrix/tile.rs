//! Tiles of a product: sums that stay in vector registers for a whole piece of the inner length.

use pulp::Simd;

use super::pack::{DEPTH, Row, TILE};

/// Vectors that a tile is wide.
pub(super) const VECTORS: usize = 3;
/// Numbers of the widest vector.
pub(super) const LANES: usize = 16;
/// Numbers that a tile is wide at most.
pub(super) const WIDEST: usize = VECTORS * LANES;

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

/// The sums over the inner length of [`TILE`] `rows` times a `panel` that is `width` wide.
#[inline(always)]
pub(super) fn tile<S: Simd>(simd: S, rows: &[Row], panel: &[f32], width: usize) -> [[f32; WIDEST]; TILE] {
    let lanes = size_of::<S::f32s>() / size_of::<f32>();
    let mut sums = [[0.0; WIDEST]; TILE];
    // 24 of 32 registers of AVX-512, 12 of 16 of AVX2.
    if lanes == LANES {
        part::<S, TILE>(simd, rows, panel, width / lanes, &mut sums);
    } else {
        for (rows, sums) in rows.chunks_exact(TILE / 2).zip(sums.chunks_exact_mut(TILE / 2)) {
            part::<S, { TILE / 2 }>(simd, rows, panel, width / lanes, sums);
        }
    }
    sums
}

#[inline(always)]
fn part<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[Row],
    panel: &[f32],
    vectors: usize,
    sums: &mut [[f32; WIDEST]],
) {
    match vectors {
        3 => registers::<S, ROWS, 3>(simd, rows, panel, sums),
        2 => registers::<S, ROWS, 2>(simd, rows, panel, sums),
        _ => registers::<S, ROWS, 1>(simd, rows, panel, sums),
    }
}

#[inline(always)]
fn registers<S: Simd, const ROWS: usize, const WIDE: usize>(
    simd: S,
    rows: &[Row],
    panel: &[f32],
    sums: &mut [[f32; WIDEST]],
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
    for (sums, registers) in sums.iter_mut().zip(&registers) {
        let (vectors, _) = S::as_mut_simd_f32s(sums);
        for (vector, register) in vectors.iter_mut().zip(registers) {
            *vector = *register;
        }
    }
}
