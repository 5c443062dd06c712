//! Layer and root-mean-square normalisation of rows.
//!
//! Rule: backward passes recompute the statistics of a row, because the row is in the cache anyway.

use rayon::prelude::*;

use super::simd::{dot, dot_centered, sum, sum_squared_deviations, vectorized};

/// Rows per task. It also fixes the order of sums over rows.
const ROWS: usize = 32;

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
fn statistics(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    (
        mean,
        1.0 / (sum_squared_deviations(x, mean) / count + epsilon).sqrt(),
    )
}

/// Reciprocal root mean square of a row.
#[inline(always)]
fn inverse_rms(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

/// Layer normalisation of rows of the width of `gain`.
pub(super) fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gain.len();
    let mut output = vec![0.0; x.len()];
    let chunks = output
        .par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width));
    chunks.for_each(|(output, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (output, x) in output.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (mean, scale) = statistics(x, epsilon);
                    for (((output, x), gain), bias) in output.iter_mut().zip(x).zip(gain).zip(bias) {
                        *output = (x - mean) * scale * gain + bias;
                    }
                }
            },
        );
    });
    output
}

/// Replaces `dy` by the gradient of `x`.
pub(super) fn layer_norm_backward(mut dy: Vec<f32>, x: &[f32], gain: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gain.len();
    let chunks = dy.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    chunks.for_each(|(dy, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (dy, x) in dy.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (mean, scale) = statistics(x, epsilon);
                    for (dy, gain) in dy.iter_mut().zip(gain) {
                        *dy *= gain;
                    }
                    let count = width as f32;
                    let level = sum(dy) / count;
                    let projection = dot_centered(dy, x, mean) / count * scale;
                    for (dy, x) in dy.iter_mut().zip(x) {
                        *dy = (*dy - level - (x - mean) * scale * projection) * scale;
                    }
                }
            },
        );
    });
    dy
}

/// Gradients of gain and bias.
pub(super) fn layer_norm_affine(dy: &[f32], x: &[f32], width: usize, epsilon: f32) -> [Vec<f32>; 2] {
    let chunks = dy.par_chunks(ROWS * width).zip(x.par_chunks(ROWS * width));
    let parts: Vec<[Vec<f32>; 2]> = chunks
        .map(|(dy, x)| {
            let [mut gain, mut bias] = [vec![0.0; width], vec![0.0; width]];
            vectorized(
                #[inline(always)]
                || {
                    for (dy, x) in dy.chunks_exact(width).zip(x.chunks_exact(width)) {
                        let (mean, scale) = statistics(x, epsilon);
                        for (((gain, bias), dy), x) in gain.iter_mut().zip(&mut bias).zip(dy).zip(x) {
                            *gain += dy * (x - mean) * scale;
                            *bias += dy;
                        }
                    }
                },
            );
            [gain, bias]
        })
        .collect();
    let [gain, bias] = [0, 1].map(|half| sum_rows_in_order(parts.iter().map(|part| &part[half]), width));
    [gain, bias]
}

/// Root-mean-square normalisation of rows of the width of `gain`.
pub(super) fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gain.len();
    let mut output = vec![0.0; x.len()];
    let chunks = output
        .par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width));
    chunks.for_each(|(output, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (output, x) in output.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let scale = inverse_rms(x, epsilon);
                    for ((output, x), gain) in output.iter_mut().zip(x).zip(gain) {
                        *output = x * scale * gain;
                    }
                }
            },
        );
    });
    output
}

/// Replaces `dy` by the gradient of `x`.
pub(super) fn rms_norm_backward(mut dy: Vec<f32>, x: &[f32], gain: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gain.len();
    let chunks = dy.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width));
    chunks.for_each(|(dy, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (dy, x) in dy.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let scale = inverse_rms(x, epsilon);
                    for (dy, gain) in dy.iter_mut().zip(gain) {
                        *dy *= gain;
                    }
                    let projection = dot(dy, x) / width as f32 * scale * scale;
                    for (dy, x) in dy.iter_mut().zip(x) {
                        *dy = (*dy - x * projection) * scale;
                    }
                }
            },
        );
    });
    dy
}

/// The gradient of the gain.
pub(super) fn rms_norm_affine(dy: &[f32], x: &[f32], width: usize, epsilon: f32) -> Vec<f32> {
    let chunks = dy.par_chunks(ROWS * width).zip(x.par_chunks(ROWS * width));
    let parts: Vec<Vec<f32>> = chunks
        .map(|(dy, x)| {
            let mut gain = vec![0.0; width];
            vectorized(
                #[inline(always)]
                || {
                    for (dy, x) in dy.chunks_exact(width).zip(x.chunks_exact(width)) {
                        let scale = inverse_rms(x, epsilon);
                        for ((gain, dy), x) in gain.iter_mut().zip(dy).zip(x) {
                            *gain += dy * x * scale;
                        }
                    }
                },
            );
            gain
        })
        .collect();
    sum_rows_in_order(parts.iter(), width)
}

/// The sum of all rows of `x`.
pub(super) fn sum_of_rows(x: &[f32], width: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = x
        .par_chunks(ROWS * width)
        .map(|x| sum_rows_in_order(x.chunks_exact(width), width))
        .collect();
    sum_rows_in_order(parts.iter(), width)
}

/// The sum of `rows`, in their order.
fn sum_rows_in_order<R: AsRef<[f32]>>(rows: impl Iterator<Item = R>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for row in rows {
        for (total, number) in total.iter_mut().zip(row.as_ref()) {
            *total += number;
        }
    }
    total
}
