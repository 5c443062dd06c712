//! Kernels of norms: a cube of units works on one row.

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::{
    Cube,
    matrix::{buffer, by_row, room_like, sum_of_cube, tensor},
};
use crate::model::ops::composed::like;

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
