//! Kernels of softmax and cross-entropy: a cube of units works on one row.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::{
    Cube,
    matrix::{buffer, by_row, largest_of_cube, room, room_like, sum_of_cube, tensor, whole_numbers},
};
use crate::model::ops::{Sight, composed::like};

type Matrix<R, B> = Tensor<Cube<R, B>, 2>;

/// See [`crate::model::ops::TransformerOps::softmax_in_sight`].
pub(super) fn softmax<R: CubeRuntime, B: BoolElement>(
    scores: Tensor<Cube<R, B>, 4>,
    sight: &Sight,
    factor: f64,
) -> Tensor<Cube<R, B>, 4> {
    let [batch, heads, queries, keys] = scores.dims();
    let device = scores.device();
    let scores = buffer(scores);
    // Without a list all see from the first key on.
    let first = match &sight.first {
        Some(first) => first.iter().map(|first| *first as i32).collect(),
        None => vec![0],
    };
    let first = whole_numbers::<R, B>(first, &device);
    let output = room_like(&scores);
    let (cubes, units) = by_row(batch * heads * queries);
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
        let place = keys - queries + query;
        let mut from = 0usize;
        if first.len() > 1 {
            from = first[CUBE_POS / (heads * queries) * queries + query] as usize;
        }
        if from > place {
            from = place;
        }
        let mut largest = f32::cast_from(scores[start + place]) * factor;
        let mut at = from + UNIT_POS_X as usize;
        while at <= place {
            let score = f32::cast_from(scores[start + at]) * factor;
            if score > largest {
                largest = score;
            }
            at += 256usize;
        }
        let largest = largest_of_cube(largest);
        let mut sum = 0.0f32;
        let mut at = from + UNIT_POS_X as usize;
        while at <= place {
            sum += (f32::cast_from(scores[start + at]) * factor - largest).exp();
            at += 256usize;
        }
        let sum = sum_of_cube(sum);
        let mut at = UNIT_POS_X as usize;
        while at < keys {
            let mut weight = 0.0f32;
            if at >= from && at <= place {
                weight = (f32::cast_from(scores[start + at]) * factor - largest).exp() / sum;
            }
            output[start + at] = F::cast_from(weight);
            at += 256usize;
        }
    }
}

/// See [`crate::model::ops::TransformerGradients::softmax_gradient`].
pub(super) fn softmax_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Tensor<Cube<R, B>, 4>,
    weights: Tensor<Cube<R, B>, 4>,
    factor: f64,
) -> Tensor<Cube<R, B>, 4> {
    let [batch, heads, queries, keys] = weights.dims();
    let model = weights.dtype();
    let (dy, weights) = (buffer(like(dy, model)), buffer(weights));
    let output = room_like(&weights);
    let (cubes, units) = by_row(batch * heads * queries);
    softmax_gradient_kernel::launch::<R>(
        &weights.client.clone(),
        cubes,
        units,
        dy.into_array_arg(),
        weights.into_array_arg(),
        output.clone().into_array_arg(),
        keys,
        factor as f32,
        model.into(),
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
        let mut along = 0.0f32;
        let mut at = UNIT_POS_X as usize;
        while at < keys {
            along += f32::cast_from(dy[start + at]) * f32::cast_from(weights[start + at]);
            at += 256usize;
        }
        let along = sum_of_cube(along);
        let mut at = UNIT_POS_X as usize;
        while at < keys {
            let turned = f32::cast_from(dy[start + at]) - along;
            output[start + at] = F::cast_from(f32::cast_from(weights[start + at]) * turned * factor);
            at += 256usize;
        }
    }
}

/// See [`crate::model::ops::TransformerGradients::cross_entropy`].
pub(super) fn cross_entropy<R: CubeRuntime, B: BoolElement>(
    scores: Matrix<R, B>,
    tokens: &[i32],
    scale: f64,
) -> (Matrix<R, B>, Matrix<R, B>) {
    let [rows, vocabulary] = scores.dims();
    let device = scores.device();
    let scores = buffer(scores);
    let tokens = whole_numbers::<R, B>(tokens.to_vec(), &device);
    let losses = room(&scores, Shape::new([rows, 1]), DType::F32);
    let gradient = room_like(&scores);
    let (cubes, units) = by_row(rows);
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
        let mut at = UNIT_POS_X as usize;
        while at < vocabulary {
            let score = f32::cast_from(scores[start + at]);
            if score > largest {
                largest = score;
            }
            at += 256usize;
        }
        let largest = largest_of_cube(largest);
        let mut sum = 0.0f32;
        let mut at = UNIT_POS_X as usize;
        while at < vocabulary {
            sum += (f32::cast_from(scores[start + at]) - largest).exp();
            at += 256usize;
        }
        let sum = sum_of_cube(sum);
        if UNIT_POS_X == 0 {
            losses[CUBE_POS] = sum.ln() - (chosen - largest);
        }
        let mut at = UNIT_POS_X as usize;
        while at < vocabulary {
            let mut share = (f32::cast_from(scores[start + at]) - largest).exp() / sum;
            if at == target {
                share -= 1.0f32;
            }
            gradient[start + at] = F::cast_from(share * scale);
            at += 256usize;
        }
    }
}
