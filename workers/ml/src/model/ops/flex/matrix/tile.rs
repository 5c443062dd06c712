//! The micro-kernel: tiles whose sums stay in vector registers for a whole block of the inner dimension.

use pulp::Simd;

use super::{
    layout::{BLOCK_DEPTH, MAX_LANES, MAX_TILE_COLUMNS, PackedRow, TILE_ROWS},
    prefetch::prefetch_slice,
};

/// Where a tile stores its sums.
pub(super) struct TileOutput<'a, 't> {
    /// The rows, at most [`TILE_ROWS`].
    pub(super) out: &'a mut [&'t mut [f32]],
    /// First column, and number of columns.
    pub(super) first: usize,
    pub(super) count: usize,
    /// `out = (out +) scale · sums`.
    pub(super) scale: f32,
    pub(super) add: bool,
}

/// `out = (out +) scale · sums`.
#[inline(always)]
pub(super) fn store(out: &mut [f32], sums: &[f32], scale: f32, add: bool) {
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

/// Multiplies [`TILE_ROWS`] packed `rows` by a `panel` of `width` columns and stores the sums in `output`.
#[inline(always)]
pub(super) fn tile<S: Simd>(
    simd: S,
    rows: &[PackedRow],
    panel: &[f32],
    width: usize,
    output: TileOutput<'_, '_>,
) {
    let lanes = size_of::<S::f32s>() / size_of::<f32>();
    for row in &*output.out {
        prefetch_slice(&row[output.first..][..output.count]);
    }
    // Uses 24 of AVX-512's 32 registers, and 12 of AVX2's 16.
    if lanes == MAX_LANES {
        dispatch_width::<S, TILE_ROWS>(simd, rows, panel, width / lanes, output);
    } else {
        let halves = rows
            .chunks_exact(TILE_ROWS / 2)
            .zip(output.out.chunks_mut(TILE_ROWS / 2));
        for (rows, out) in halves {
            dispatch_width::<S, { TILE_ROWS / 2 }>(
                simd,
                rows,
                panel,
                width / lanes,
                TileOutput { out, ..output },
            );
        }
    }
}

#[inline(always)]
fn dispatch_width<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[PackedRow],
    panel: &[f32],
    vectors: usize,
    output: TileOutput<'_, '_>,
) {
    match vectors {
        3 => accumulate::<S, ROWS, 3>(simd, rows, panel, output),
        2 => accumulate::<S, ROWS, 2>(simd, rows, panel, output),
        _ => accumulate::<S, ROWS, 1>(simd, rows, panel, output),
    }
}

#[inline(always)]
fn accumulate<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    rows: &[PackedRow],
    panel: &[f32],
    output: TileOutput<'_, '_>,
) {
    let lanes = size_of::<S::f32s>() / size_of::<f32>();
    let Some(rows) = rows.first_chunk::<ROWS>() else {
        return;
    };
    let mut registers = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (step, data) in panel.chunks_exact(VECTORS * lanes).take(BLOCK_DEPTH).enumerate() {
        let Some(data) = S::as_simd_f32s(data).0.first_chunk::<VECTORS>() else {
            return;
        };
        for (registers, row) in registers.iter_mut().zip(rows) {
            let repeated = simd.splat_f32s(row[step]);
            for (register, data) in registers.iter_mut().zip(data) {
                *register = simd.mul_add_f32s(repeated, *data, *register);
            }
        }
    }
    let TileOutput {
        out,
        first,
        count,
        scale,
        add,
    } = output;
    let scales = simd.splat_f32s(scale);
    for (out, sums) in out.iter_mut().zip(&registers) {
        let out = &mut out[first..first + count];
        match S::as_mut_simd_f32s(out) {
            (vectors, []) if vectors.len() == VECTORS => {
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
                let mut edge = [0.0; MAX_TILE_COLUMNS];
                for (vector, sums) in S::as_mut_simd_f32s(&mut edge).0.iter_mut().zip(sums) {
                    *vector = *sums;
                }
                store(out, &edge, scale, add);
            }
        }
    }
}
