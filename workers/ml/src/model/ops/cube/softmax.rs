//! Kernels of softmax and cross-entropy: one cube per row.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::buffers::{
    Cube, contiguous, cube_max, cube_sum, empty, empty_like, grid_per_row, int_buffer, tensor,
};
use crate::model::ops::{attention_mask::AttentionMask, precision::cast_to};

type Matrix<R, B> = Tensor<Cube<R, B>, 2>;

/// See [`crate::model::ops::PrimitiveOps::masked_softmax`].
pub(super) fn softmax<R: CubeRuntime, B: BoolElement>(
    scores: Tensor<Cube<R, B>, 4>,
    mask: &AttentionMask,
    factor: f64,
) -> Tensor<Cube<R, B>, 4> {
    let [batch, heads, queries, keys] = scores.dims();
    let device = scores.device();
    let scores = contiguous(scores);
    // Without a list, all queries attend from the first key.
    let first = match &mask.first {
        Some(first) => first.iter().map(|first| *first as i32).collect(),
        None => vec![0],
    };
    let first = int_buffer::<R, B>(first, &device);
    let output = empty_like(&scores);
    let (cubes, units) = grid_per_row(batch * heads * queries);
    let dtype = scores.dtype.into();
    softmax_kernel::launch::<R>(
        &scores.client.clone(),
        cubes,
        units,
        scores.into_array_arg(),
        first.into_array_arg(),
        output.clone().into_array_arg(),
        heads,
        queries,
        keys,
        factor as f32,
        dtype,
    );
    tensor(output)
}

#[cube(launch)]
fn softmax_kernel<F: Float>(
    scores: &Array<F>,
    first: &Array<i32>,
    output: &mut Array<F>,
    heads: usize,
    queries: usize,
    keys: usize,
    factor: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * keys;
    if start < scores.len() {
        let query = CUBE_POS % queries;
        let position = keys - queries + query;
        let mut from = 0usize;
        if first.len() > 1 {
            from = first[CUBE_POS / (heads * queries) * queries + query] as usize;
        }
        if from > position {
            from = position;
        }
        let mut largest = f32::cast_from(scores[start + position]) * factor;
        let mut column = from + UNIT_POS_X as usize;
        while column <= position {
            let score = f32::cast_from(scores[start + column]) * factor;
            if score > largest {
                largest = score;
            }
            column += 256usize;
        }
        let largest = cube_max(largest);
        let mut sum = 0.0f32;
        let mut column = from + UNIT_POS_X as usize;
        while column <= position {
            sum += (f32::cast_from(scores[start + column]) * factor - largest).exp();
            column += 256usize;
        }
        let sum = cube_sum(sum);
        let mut column = UNIT_POS_X as usize;
        while column < keys {
            let mut weight = 0.0f32;
            if column >= from && column <= position {
                weight = (f32::cast_from(scores[start + column]) * factor - largest).exp() / sum;
            }
            output[start + column] = F::cast_from(weight);
            column += 256usize;
        }
    }
}

/// See [`crate::model::ops::PrimitiveOps::softmax_gradient`].
pub(super) fn softmax_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Tensor<Cube<R, B>, 4>,
    weights: Tensor<Cube<R, B>, 4>,
    factor: f64,
) -> Tensor<Cube<R, B>, 4> {
    let [batch, heads, queries, keys] = weights.dims();
    let dtype = weights.dtype();
    let (dy, weights) = (contiguous(cast_to(dy, dtype)), contiguous(weights));
    let output = empty_like(&weights);
    let (cubes, units) = grid_per_row(batch * heads * queries);
    softmax_gradient_kernel::launch::<R>(
        &weights.client.clone(),
        cubes,
        units,
        dy.into_array_arg(),
        weights.into_array_arg(),
        output.clone().into_array_arg(),
        keys,
        factor as f32,
        dtype.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn softmax_gradient_kernel<F: Float>(
    dy: &Array<F>,
    weights: &Array<F>,
    output: &mut Array<F>,
    keys: usize,
    factor: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * keys;
    if start < weights.len() {
        let mut projection = 0.0f32;
        let mut column = UNIT_POS_X as usize;
        while column < keys {
            projection += f32::cast_from(dy[start + column]) * f32::cast_from(weights[start + column]);
            column += 256usize;
        }
        let projection = cube_sum(projection);
        let mut column = UNIT_POS_X as usize;
        while column < keys {
            let rotated = f32::cast_from(dy[start + column]) - projection;
            output[start + column] = F::cast_from(f32::cast_from(weights[start + column]) * rotated * factor);
            column += 256usize;
        }
    }
}

/// See [`crate::model::ops::PrimitiveOps::cross_entropy`].
pub(super) fn cross_entropy<R: CubeRuntime, B: BoolElement>(
    scores: Matrix<R, B>,
    tokens: &[i32],
    scale: f64,
) -> (Matrix<R, B>, Matrix<R, B>) {
    let [rows, vocabulary] = scores.dims();
    let device = scores.device();
    let scores = contiguous(scores);
    let tokens = int_buffer::<R, B>(tokens.to_vec(), &device);
    let losses = empty(&scores, Shape::new([rows, 1]), DType::F32);
    let gradient = empty_like(&scores);
    let (cubes, units) = grid_per_row(rows);
    let dtype = scores.dtype.into();
    cross_entropy_kernel::launch::<R>(
        &scores.client.clone(),
        cubes,
        units,
        scores.into_array_arg(),
        tokens.into_array_arg(),
        losses.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        vocabulary,
        scale as f32,
        dtype,
    );
    (tensor(losses), tensor(gradient))
}

#[cube(launch)]
fn cross_entropy_kernel<F: Float>(
    scores: &Array<F>,
    tokens: &Array<i32>,
    losses: &mut Array<f32>,
    gradient: &mut Array<F>,
    vocabulary: usize,
    scale: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * vocabulary;
    if start < scores.len() {
        let target = tokens[CUBE_POS] as usize;
        let chosen = f32::cast_from(scores[start + target]);
        let mut largest = chosen;
        let mut column = UNIT_POS_X as usize;
        while column < vocabulary {
            let score = f32::cast_from(scores[start + column]);
            if score > largest {
                largest = score;
            }
            column += 256usize;
        }
        let largest = cube_max(largest);
        let mut sum = 0.0f32;
        let mut column = UNIT_POS_X as usize;
        while column < vocabulary {
            sum += (f32::cast_from(scores[start + column]) - largest).exp();
            column += 256usize;
        }
        let sum = cube_sum(sum);
        if UNIT_POS_X == 0 {
            losses[CUBE_POS] = sum.ln() - (chosen - largest);
        }
        let mut column = UNIT_POS_X as usize;
        while column < vocabulary {
            let mut share = (f32::cast_from(scores[start + column]) - largest).exp() / sum;
            if column == target {
                share -= 1.0f32;
            }
            gradient[start + column] = F::cast_from(share * scale);
            column += 256usize;
        }
    }
}
