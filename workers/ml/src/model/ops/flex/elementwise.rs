//! Elementwise operations: both forms of GELU, SwiGLU and rotary positions.

use rayon::prelude::*;

use super::{
    host::HostMatrix,
    simd::{sigmoid, vectorized},
};
use crate::model::ops::composite::{GELU_CUBIC, SQRT_2_OVER_PI};

/// Elements per task, whose inputs and outputs fit into a core's own cache.
const CHUNK: usize = 1 << 14;

/// 2·√(2/π) and 2·√(2/π)·0.044715: the argument of GELU's sigmoid is `x · (GELU_LINEAR + GELU_QUADRATIC · x²)`.
const GELU_LINEAR: f32 = 2.0 * SQRT_2_OVER_PI as f32;
const GELU_QUADRATIC: f32 = 2.0 * (SQRT_2_OVER_PI * GELU_CUBIC) as f32;

#[inline(always)]
fn gelu_by_sigmoid(x: f32) -> f32 {
    x * sigmoid(x * (GELU_LINEAR + GELU_QUADRATIC * x * x))
}

/// The error function to within 5e-7: a ratio of polynomials on ±4, beyond which it is ±1 (as in Eigen and XLA).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut above = -2.726_142_4e-10;
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        above = above * square + coefficient;
    }
    let mut below = -1.456_607_2e-5;
    for coefficient in [-2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        below = below * square + coefficient;
    }
    x * above / below
}

/// GELU by the error function.
pub(super) fn gelu(x: HostMatrix) -> Vec<f32> {
    map_values(
        x,
        #[inline(always)]
        |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
    )
}

/// GELU in its tanh form.
pub(super) fn gelu_new(x: HostMatrix) -> Vec<f32> {
    map_values(x, gelu_by_sigmoid)
}

/// Applies `function` to each element, in place where the buffer is not shared.
fn map_values(x: HostMatrix, function: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    if x.is_unique_buffer() {
        let mut output = x.into_vec();
        output.par_chunks_mut(CHUNK).for_each(|chunk| {
            vectorized(
                #[inline(always)]
                || chunk.iter_mut().for_each(|x| *x = function(*x)),
            );
        });
        return output;
    }
    let x = x.as_slice();
    let mut output = vec![0.0; x.len()];
    let chunks = output.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(output, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (output, x) in output.iter_mut().zip(x) {
                    *output = function(*x);
                }
            },
        );
    });
    output
}

/// Replaces `dy` by the gradient of `x`.
pub(super) fn gelu_new_backward(mut dy: Vec<f32>, x: &[f32]) -> Vec<f32> {
    let chunks = dy.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(dy, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (dy, x) in dy.iter_mut().zip(x) {
                    let square = x * x;
                    let gate = sigmoid(x * (GELU_LINEAR + GELU_QUADRATIC * square));
                    let slope = GELU_LINEAR + 3.0 * GELU_QUADRATIC * square;
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
        vectorized(
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

/// Replaces `gate` and `up` by their gradients.
pub(super) fn swiglu_backward(dy: &[f32], mut gate: Vec<f32>, mut up: Vec<f32>) -> [Vec<f32>; 2] {
    let chunks = dy
        .par_chunks(CHUNK)
        .zip(gate.par_chunks_mut(CHUNK))
        .zip(up.par_chunks_mut(CHUNK));
    chunks.for_each(|((dy, gate), up)| {
        vectorized(
            #[inline(always)]
            || {
                for ((dy, gate), up) in dy.iter().zip(gate).zip(up) {
                    let gate_sigmoid = sigmoid(*gate);
                    let silu = *gate * gate_sigmoid;
                    *gate = dy * *up * (gate_sigmoid + silu * (1.0 - gate_sigmoid));
                    *up = dy * silu;
                }
            },
        );
    });
    [gate, up]
}

/// Rotates the pairs of each of `heads` heads of the rows of `x` by the angles of that row.
pub(super) fn rotate(mut x: Vec<f32>, width: usize, cos: &[f32], sin: &[f32], heads: usize) -> Vec<f32> {
    let half = width / heads / 2;
    let rows = (CHUNK / width.max(1)).max(1);
    let chunks = x
        .par_chunks_mut(rows * width)
        .zip(cos.par_chunks(rows * half))
        .zip(sin.par_chunks(rows * half));
    chunks.for_each(|((x, cos), sin)| {
        vectorized(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_right_to_the_last_digits() {
        // Values from tables, and a large argument.
        for (x, exact) in [
            (0.0, 0.0),
            (0.1, 0.112_462_916),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (1.5, 0.966_105_15),
            (2.0, 0.995_322_3),
            (3.0, 0.999_977_9),
            (50.0, 1.0),
        ] {
            assert!((erf(x) - exact).abs() < 5e-7, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!(erf(f32::NAN).is_nan());
    }
}
