//! Kernels of norms: one cube per row.

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::buffers::{Cube, contiguous, cube_sum, empty_like, grid_per_row, tensor};
use crate::model::ops::precision::cast_to;

type Matrix<R, B> = Tensor<Cube<R, B>, 2>;

/// See [`crate::model::ops::TransformerOps::layer_norm_rows`].
pub(super) fn layer_norm<R: CubeRuntime, B: BoolElement>(
    x: Matrix<R, B>,
    gain: Matrix<R, B>,
    bias: Matrix<R, B>,
    epsilon: f64,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let dtype = x.dtype();
    let (x, gain, bias) = (
        contiguous(x),
        contiguous(cast_to(gain, dtype)),
        contiguous(cast_to(bias, dtype)),
    );
    let output = empty_like(&x);
    let (cubes, units) = grid_per_row(rows);
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
        dtype.into(),
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
        let mut column = UNIT_POS_X as usize;
        while column < width {
            let normalized = (f32::cast_from(x[start + column]) - mean) * scale;
            output[start + column] =
                F::cast_from(normalized * f32::cast_from(gain[column]) + f32::cast_from(bias[column]));
            column += 256usize;
        }
    }
}

/// Mean and reciprocal standard deviation of a row.
#[cube]
fn moments<F: Float>(x: &Array<F>, start: usize, width: usize, epsilon: f32) -> (f32, f32) {
    let count = width as f32;
    let mut sum = 0.0f32;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        sum += f32::cast_from(x[start + column]);
        column += 256usize;
    }
    let mean = cube_sum(sum) / count;
    let mut square = 0.0f32;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let centered = f32::cast_from(x[start + column]) - mean;
        square += centered * centered;
        column += 256usize;
    }
    let scale = 1.0f32 / (cube_sum(square) / count + epsilon).sqrt();
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
    let dtype = x.dtype();
    let (dy, x, gain) = (
        contiguous(cast_to(dy, dtype)),
        contiguous(x),
        contiguous(cast_to(gain, dtype)),
    );
    let output = empty_like(&x);
    let (cubes, units) = grid_per_row(rows);
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
        dtype.into(),
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
        let mut projection = 0.0f32;
        let mut column = UNIT_POS_X as usize;
        while column < width {
            let scaled = f32::cast_from(dy[start + column]) * f32::cast_from(gain[column]);
            let normalized = (f32::cast_from(x[start + column]) - mean) * scale;
            sum += scaled;
            projection += scaled * normalized;
            column += 256usize;
        }
        let sum = cube_sum(sum) / count;
        let projection = cube_sum(projection) / count;
        let mut column = UNIT_POS_X as usize;
        while column < width {
            let scaled = f32::cast_from(dy[start + column]) * f32::cast_from(gain[column]);
            let normalized = (f32::cast_from(x[start + column]) - mean) * scale;
            output[start + column] = F::cast_from((scaled - sum - normalized * projection) * scale);
            column += 256usize;
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
    let dtype = x.dtype();
    let (x, gain) = (contiguous(x), contiguous(cast_to(gain, dtype)));
    let output = empty_like(&x);
    let (cubes, units) = grid_per_row(rows);
    rms_norm_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        gain.into_array_arg(),
        output.clone().into_array_arg(),
        width,
        epsilon as f32,
        dtype.into(),
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
        let scale = inverse_rms::<F>(x, start, width, epsilon);
        let mut column = UNIT_POS_X as usize;
        while column < width {
            let normalized = f32::cast_from(x[start + column]) * scale;
            output[start + column] = F::cast_from(normalized * f32::cast_from(gain[column]));
            column += 256usize;
        }
    }
}

/// Reciprocal root mean square of a row.
#[cube]
fn inverse_rms<F: Float>(x: &Array<F>, start: usize, width: usize, epsilon: f32) -> f32 {
    let mut square = 0.0f32;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let number = f32::cast_from(x[start + column]);
        square += number * number;
        column += 256usize;
    }
    1.0f32 / (cube_sum(square) / width as f32 + epsilon).sqrt()
}

/// The gradient of `x`; see [`crate::model::ops::TransformerGradients::rms_norm_gradient`].
pub(super) fn rms_norm_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Matrix<R, B>,
    x: Matrix<R, B>,
    gain: Matrix<R, B>,
    epsilon: f64,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let dtype = x.dtype();
    let (dy, x, gain) = (
        contiguous(cast_to(dy, dtype)),
        contiguous(x),
        contiguous(cast_to(gain, dtype)),
    );
    let output = empty_like(&x);
    let (cubes, units) = grid_per_row(rows);
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
        dtype.into(),
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
        let scale = inverse_rms::<F>(x, start, width, epsilon);
        let mut projection = 0.0f32;
        let mut column = UNIT_POS_X as usize;
        while column < width {
            let scaled = f32::cast_from(dy[start + column]) * f32::cast_from(gain[column]);
            projection += scaled * f32::cast_from(x[start + column]) * scale;
            column += 256usize;
        }
        let projection = cube_sum(projection) / width as f32;
        let mut column = UNIT_POS_X as usize;
        while column < width {
            let scaled = f32::cast_from(dy[start + column]) * f32::cast_from(gain[column]);
            let normalized = f32::cast_from(x[start + column]) * scale;
            output[start + column] = F::cast_from((scaled - normalized * projection) * scale);
            column += 256usize;
        }
    }
}
