//! Kernels in which a cube of units works on one row: norms, softmax and cross-entropy.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::{
    Cube,
    matrix::{buffer, by_row, largest_of_cube, room, room_like, sum_of_cube, tensor, whole_numbers},
};
use crate::model::ops::{Sight, composed::like};

type Matrix<R, B> = Tensor<Cube<R, B>, 2>;

/// See [`crate::model::ops::TransformerOps::layer_norm_rows`].
pub(super) fn layer_norm<R: CubeRuntime, B: BoolElement>(
    x: Matrix<R, B>,
    gain: Matrix<R, B>,
    bias: Matrix<R, B>,
    epsilon: f64,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let model = x.dtype();
    let (x, gain, bias) = (buffer(x), buffer(like(gain, model)), buffer(like(bias, model)));
    let output = room_like(&x);
    let (cubes, units) = by_row(rows);
    layer_norm_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        gain.into_array_arg(),
        bias.into_array_arg(),
        output.clone().into_array_arg(),
        width,
        epsilon as f32,
        model.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn layer_norm_kernel<F: Float>(
    x: &Array<F>,
    gain: &Array<F>,
    bias: &Array<F>,
    output: &mut Array<F>,
    width: usize,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * width;
    if start < x.len() {
        let (mean, scale) = moments::<F>(x, start, width, epsilon);
        let mut at = UNIT_POS_X as usize;
        while at < width {
            let normed = (f32::cast_from(x[start + at]) - mean) * scale;
            output[start + at] = F::cast_from(normed * f32::cast_from(gain[at]) + f32::cast_from(bias[at]));
            at += 256usize;
        }
    }
}

/// Mean and 1 / deviation of a row.
#[cube]
fn moments<F: Float>(x: &Array<F>, start: usize, width: usize, epsilon: f32) -> (f32, f32) {
    let count = width as f32;
    let mut sum = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < width {
        sum += f32::cast_from(x[start + at]);
        at += 256usize;
    }
    let mean = sum_of_cube(sum) / count;
    let mut square = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < width {
        let centred = f32::cast_from(x[start + at]) - mean;
        square += centred * centred;
        at += 256usize;
    }
    let scale = 1.0f32 / (sum_of_cube(square) / count + epsilon).sqrt();
    (mean, scale)
}

/// The gradient of `x`; see [`crate::model::ops::TransformerGradients::layer_norm_gradient`].
pub(super) fn layer_norm_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Matrix<R, B>,
    x: Matrix<R, B>,
    gain: Matrix<R, B>,
    epsilon: f64,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let model = x.dtype();
    let (dy, x, gain) = (buffer(like(dy, model)), buffer(x), buffer(like(gain, model)));
    let output = room_like(&x);
    let (cubes, units) = by_row(rows);
    layer_norm_gradient_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        dy.into_array_arg(),
        x.into_array_arg(),
        gain.into_array_arg(),
        output.clone().into_array_arg(),
        width,
        epsilon as f32,
        model.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn layer_norm_gradient_kernel<F: Float>(
    dy: &Array<F>,
    x: &Array<F>,
    gain: &Array<F>,
    output: &mut Array<F>,
    width: usize,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * width;
    if start < x.len() {
        let (mean, scale) = moments::<F>(x, start, width, epsilon);
        let count = width as f32;
        let mut sum = 0.0f32;
        let mut along = 0.0f32;
        let mut at = UNIT_POS_X as usize;
        while at < width {
            let scaled = f32::cast_from(dy[start + at]) * f32::cast_from(gain[at]);
            let normed = (f32::cast_from(x[start + at]) - mean) * scale;
            sum += scaled;
            along += scaled * normed;
            at += 256usize;
        }
        let sum = sum_of_cube(sum) / count;
        let along = sum_of_cube(along) / count;
        let mut at = UNIT_POS_X as usize;
        while at < width {
            let scaled = f32::cast_from(dy[start + at]) * f32::cast_from(gain[at]);
            let normed = (f32::cast_from(x[start + at]) - mean) * scale;
            output[start + at] = F::cast_from((scaled - sum - normed * along) * scale);
            at += 256usize;
        }
    }
}

/// See [`crate::model::ops::TransformerOps::rms_norm_rows`].
pub(super) fn rms_norm<R: CubeRuntime, B: BoolElement>(
    x: Matrix<R, B>,
    gain: Matrix<R, B>,
    epsilon: f64,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let model = x.dtype();
    let (x, gain) = (buffer(x), buffer(like(gain, model)));
    let output = room_like(&x);
    let (cubes, units) = by_row(rows);
    rms_norm_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        gain.into_array_arg(),
        output.clone().into_array_arg(),
        width,
        epsilon as f32,
        model.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn rms_norm_kernel<F: Float>(
    x: &Array<F>,
    gain: &Array<F>,
    output: &mut Array<F>,
    width: usize,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * width;
    if start < x.len() {
        let scale = unit_scale::<F>(x, start, width, epsilon);
        let mut at = UNIT_POS_X as usize;
        while at < width {
            let normed = f32::cast_from(x[start + at]) * scale;
            output[start + at] = F::cast_from(normed * f32::cast_from(gain[at]));
            at += 256usize;
        }
    }
}

/// 1 / √(mean square) of a row.
#[cube]
fn unit_scale<F: Float>(x: &Array<F>, start: usize, width: usize, epsilon: f32) -> f32 {
    let mut square = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < width {
        let number = f32::cast_from(x[start + at]);
        square += number * number;
        at += 256usize;
    }
    1.0f32 / (sum_of_cube(square) / width as f32 + epsilon).sqrt()
}

/// The gradient of `x`; see [`crate::model::ops::TransformerGradients::rms_norm_gradient`].
pub(super) fn rms_norm_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Matrix<R, B>,
    x: Matrix<R, B>,
    gain: Matrix<R, B>,
    epsilon: f64,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let model = x.dtype();
    let (dy, x, gain) = (buffer(like(dy, model)), buffer(x), buffer(like(gain, model)));
    let output = room_like(&x);
    let (cubes, units) = by_row(rows);
    rms_norm_gradient_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        dy.into_array_arg(),
        x.into_array_arg(),
        gain.into_array_arg(),
        output.clone().into_array_arg(),
        width,
        epsilon as f32,
        model.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn rms_norm_gradient_kernel<F: Float>(
    dy: &Array<F>,
    x: &Array<F>,
    gain: &Array<F>,
    output: &mut Array<F>,
    width: usize,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    let start = CUBE_POS * width;
    if start < x.len() {
        let scale = unit_scale::<F>(x, start, width, epsilon);
        let mut along = 0.0f32;
        let mut at = UNIT_POS_X as usize;
        while at < width {
            let scaled = f32::cast_from(dy[start + at]) * f32::cast_from(gain[at]);
            along += scaled * f32::cast_from(x[start + at]) * scale;
            at += 256usize;
        }
        let along = sum_of_cube(along) / width as f32;
        let mut at = UNIT_POS_X as usize;
        while at < width {
            let scaled = f32::cast_from(dy[start + at]) * f32::cast_from(gain[at]);
            let normed = f32::cast_from(x[start + at]) * scale;
            output[start + at] = F::cast_from((scaled - normed * along) * scale);
            at += 256usize;
        }
    }
}

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
