//! Elementwise kernels: activations and rotary positions.

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::buffers::{Cube, contiguous, empty_like, grid_per_element, tensor};
use crate::model::ops::{
    composite::{GELU_CUBIC, SQRT_2_OVER_PI},
    precision::{cast_to, to_f32},
};

type Matrix<R, B> = Tensor<Cube<R, B>, 2>;

/// See [`crate::model::ops::TransformerOps::gelu_new`].
pub(super) fn gelu<R: CubeRuntime, B: BoolElement>(x: Matrix<R, B>) -> Matrix<R, B> {
    let count = x.shape().num_elements();
    let x = contiguous(x);
    let output = empty_like(&x);
    let (cubes, units) = grid_per_element(count);
    let dtype = x.dtype.into();
    gelu_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        output.clone().into_array_arg(),
        (2.0 * SQRT_2_OVER_PI) as f32,
        GELU_CUBIC as f32,
        dtype,
    );
    tensor(output)
}

#[cube(launch)]
fn gelu_kernel<F: Float>(
    x: &Array<F>,
    output: &mut Array<F>,
    root: f32,
    cubic: f32,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < x.len() {
        let number = f32::cast_from(x[ABSOLUTE_POS]);
        let gate = sigmoid(number * root * (cubic * number * number + 1.0f32));
        output[ABSOLUTE_POS] = F::cast_from(number * gate);
    }
}

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}

/// See [`crate::model::ops::TransformerGradients::gelu_new_gradient`].
pub(super) fn gelu_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Matrix<R, B>,
    x: Matrix<R, B>,
) -> Matrix<R, B> {
    let count = x.shape().num_elements();
    let dtype = x.dtype();
    let (dy, x) = (contiguous(cast_to(dy, dtype)), contiguous(x));
    let output = empty_like(&x);
    let (cubes, units) = grid_per_element(count);
    gelu_gradient_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        dy.into_array_arg(),
        x.into_array_arg(),
        output.clone().into_array_arg(),
        (2.0 * SQRT_2_OVER_PI) as f32,
        GELU_CUBIC as f32,
        dtype.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn gelu_gradient_kernel<F: Float>(
    dy: &Array<F>,
    x: &Array<F>,
    output: &mut Array<F>,
    root: f32,
    cubic: f32,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < x.len() {
        let number = f32::cast_from(x[ABSOLUTE_POS]);
        let square = number * number;
        let gate = sigmoid(number * root * (cubic * square + 1.0f32));
        // d/dx x·σ(p(x)) = σ + x·σ·(1 − σ)·p′(x)
        let slope = root * (3.0f32 * cubic * square + 1.0f32);
        let found = gate * (number * slope * (1.0f32 - gate) + 1.0f32);
        output[ABSOLUTE_POS] = F::cast_from(f32::cast_from(dy[ABSOLUTE_POS]) * found);
    }
}

/// See [`crate::model::ops::TransformerOps::swiglu`].
pub(super) fn swiglu<R: CubeRuntime, B: BoolElement>(gate: Matrix<R, B>, up: Matrix<R, B>) -> Matrix<R, B> {
    let count = up.shape().num_elements();
    let dtype = up.dtype();
    let (gate, up) = (contiguous(cast_to(gate, dtype)), contiguous(up));
    let output = empty_like(&up);
    let (cubes, units) = grid_per_element(count);
    swiglu_kernel::launch::<R>(
        &up.client.clone(),
        cubes,
        units,
        gate.into_array_arg(),
        up.into_array_arg(),
        output.clone().into_array_arg(),
        dtype.into(),
    );
    tensor(output)
}

#[cube(launch)]
fn swiglu_kernel<F: Float>(
    gate: &Array<F>,
    up: &Array<F>,
    output: &mut Array<F>,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < up.len() {
        let number = f32::cast_from(gate[ABSOLUTE_POS]);
        let silu = number * sigmoid(number);
        output[ABSOLUTE_POS] = F::cast_from(silu * f32::cast_from(up[ABSOLUTE_POS]));
    }
}

/// See [`crate::model::ops::TransformerGradients::swiglu_gradient`].
pub(super) fn swiglu_gradient<R: CubeRuntime, B: BoolElement>(
    dy: Matrix<R, B>,
    gate: Matrix<R, B>,
    up: Matrix<R, B>,
) -> [Matrix<R, B>; 2] {
    let count = up.shape().num_elements();
    let dtype = up.dtype();
    let (dy, gate, up) = (
        contiguous(cast_to(dy, dtype)),
        contiguous(cast_to(gate, dtype)),
        contiguous(up),
    );
    let outputs = [empty_like(&up), empty_like(&up)];
    let (cubes, units) = grid_per_element(count);
    let [d_gate, d_up] = outputs.clone();
    swiglu_gradient_kernel::launch::<R>(
        &up.client.clone(),
        cubes,
        units,
        dy.into_array_arg(),
        gate.into_array_arg(),
        up.into_array_arg(),
        d_gate.into_array_arg(),
        d_up.into_array_arg(),
        dtype.into(),
    );
    outputs.map(tensor)
}

#[cube(launch)]
fn swiglu_gradient_kernel<F: Float>(
    dy: &Array<F>,
    gate: &Array<F>,
    up: &Array<F>,
    d_gate: &mut Array<F>,
    d_up: &mut Array<F>,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < up.len() {
        let number = f32::cast_from(gate[ABSOLUTE_POS]);
        let dy = f32::cast_from(dy[ABSOLUTE_POS]);
        let gate_sigmoid = sigmoid(number);
        let silu = number * gate_sigmoid;
        // silu′ = σ + silu·(1 − σ)
        let slope = gate_sigmoid + silu * (1.0f32 - gate_sigmoid);
        d_gate[ABSOLUTE_POS] = F::cast_from(dy * f32::cast_from(up[ABSOLUTE_POS]) * slope);
        d_up[ABSOLUTE_POS] = F::cast_from(dy * silu);
    }
}

/// See [`crate::model::ops::TransformerOps::rotate`].
pub(super) fn rotate<R: CubeRuntime, B: BoolElement>(
    x: Matrix<R, B>,
    cos: Matrix<R, B>,
    sin: Matrix<R, B>,
    heads: usize,
) -> Matrix<R, B> {
    let [rows, width] = x.dims();
    let (x, cos, sin) = (contiguous(x), contiguous(to_f32(cos)), contiguous(to_f32(sin)));
    let output = empty_like(&x);
    let (cubes, units) = grid_per_element(rows * width);
    let dtype = x.dtype.into();
    rotate_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        cos.into_array_arg(),
        sin.into_array_arg(),
        output.clone().into_array_arg(),
        width,
        width / heads / 2,
        dtype,
    );
    tensor(output)
}

#[cube(launch)]
fn rotate_kernel<F: Float>(
    x: &Array<F>,
    cos: &Array<f32>,
    sin: &Array<f32>,
    output: &mut Array<F>,
    width: usize,
    half: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < x.len() {
        let row = ABSOLUTE_POS / width;
        let position = ABSOLUTE_POS % width % (2 * half);
        let angle = row * half + position % half;
        let number = f32::cast_from(x[ABSOLUTE_POS]);
        let mut rotated = number * cos[angle];
        if position < half {
            rotated -= f32::cast_from(x[ABSOLUTE_POS + half]) * sin[angle];
        } else {
            rotated += f32::cast_from(x[ABSOLUTE_POS - half]) * sin[angle];
        }
        output[ABSOLUTE_POS] = F::cast_from(rotated);
    }
}
