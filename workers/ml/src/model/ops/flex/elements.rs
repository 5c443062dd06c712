//! What is done number by number: GELU, SwiGLU and rotary positions.

use rayon::prelude::*;

use super::{
    Host,
    composed::{CUBIC, ROOT},
    lanes::{sigmoid, vectorised},
};

/// Numbers that one task works on: their inputs and outputs fit into a core's own cache.
const CHUNK: usize = 1 << 14;

/// 2·ROOT and 2·ROOT·CUBIC: GELU's argument of the sigmoid is `x · (LINE + BEND · x²)`.
const LINE: f32 = 2.0 * ROOT as f32;
const BEND: f32 = 2.0 * (ROOT * CUBIC) as f32;

#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * sigmoid(x * (LINE + BEND * x * x))
}

/// GELU, in place where the buffer is ours.
pub(super) fn gelu_new(x: Host) -> Vec<f32> {
    if x.is_ours() {
        let mut output = x.take();
        output.par_chunks_mut(CHUNK).for_each(|chunk| {
            vectorised(
                #[inline(always)]
                || chunk.iter_mut().for_each(|x| *x = gelu(*x)),
            );
        });
        return output;
    }
    let x = x.numbers();
    let mut output = vec![0.0; x.len()];
    let chunks = output.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(output, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (output, x) in output.iter_mut().zip(x) {
                    *output = gelu(*x);
                }
            },
        );
    });
    output
}

/// `dy` becomes the gradient of `x`.
pub(super) fn gelu_new_back(mut dy: Vec<f32>, x: &[f32]) -> Vec<f32> {
    let chunks = dy.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(dy, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (dy, x) in dy.iter_mut().zip(x) {
                    let square = x * x;
                    let gate = sigmoid(x * (LINE + BEND * square));
                    let slope = LINE + 3.0 * BEND * square;
                    *dy *= gate + x * gate * (1.0 - gate) * slope;
                }
            },
        );
    });
    dy
}

/// silu(gate) · up.
pub(super) fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut output = vec![0.0; gate.len()];
    let chunks = output
        .par_chunks_mut(CHUNK)
        .zip(gate.par_chunks(CHUNK))
        .zip(up.par_chunks(CHUNK));
    chunks.for_each(|((output, gate), up)| {
        vectorised(
            #[inline(always)]
            || {
                for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
                    *output = gate * sigmoid(*gate) * up;
                }
            },
        );
    });
    output
}

/// `gate` and `up` become their gradients.
pub(super) fn swiglu_back(dy: &[f32], mut gate: Vec<f32>, mut up: Vec<f32>) -> [Vec<f32>; 2] {
    let chunks = dy
        .par_chunks(CHUNK)
        .zip(gate.par_chunks_mut(CHUNK))
        .zip(up.par_chunks_mut(CHUNK));
    chunks.for_each(|((dy, gate), up)| {
        vectorised(
            #[inline(always)]
            || {
                for ((dy, gate), up) in dy.iter().zip(gate).zip(up) {
                    let open = sigmoid(*gate);
                    let silu = *gate * open;
                    *gate = dy * *up * (open + silu * (1.0 - open));
                    *up = dy * silu;
                }
            },
        );
    });
    [gate, up]
}

/// Turns the pairs of each of `heads` heads of the rows of `x` by the angles of that row.
pub(super) fn rotate(mut x: Vec<f32>, width: usize, cos: &[f32], sin: &[f32], heads: usize) -> Vec<f32> {
    let half = width / heads / 2;
    let rows = (CHUNK / width.max(1)).max(1);
    let chunks = x
        .par_chunks_mut(rows * width)
        .zip(cos.par_chunks(rows * half))
        .zip(sin.par_chunks(rows * half));
    chunks.for_each(|((x, cos), sin)| {
        vectorised(
            #[inline(always)]
            || {
                let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
                for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
                    for head in row.chunks_exact_mut(2 * half) {
                        let (low, high) = head.split_at_mut(half);
                        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                            (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
                        }
                    }
                }
            },
        );
    });
    x
}
