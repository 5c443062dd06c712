//! A step of AdamW in one kernel.

use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::buffers::{Cube, contiguous, empty_like, grid_per_element, tensor};
use crate::model::ops::{
    optimizer::{AdamState, AdamStep},
    precision::to_f32,
};
use burn::tensor::Tensor;

/// See [`crate::model::ops::PrimitiveOps::adam`].
pub(super) fn adam<R: CubeRuntime, B: BoolElement>(
    state: AdamState<Cube<R, B>>,
    gradient: Tensor<Cube<R, B>, 2>,
    step: &AdamStep,
) -> AdamState<Cube<R, B>> {
    let count = gradient.shape().num_elements();
    let [parameter, mean, square] = [state.parameter, state.mean, state.square].map(contiguous);
    let gradient = contiguous(to_f32(gradient));
    let outputs = [&parameter, &mean, &square].map(empty_like);
    let [new_parameter, new_mean, new_square] = outputs.clone();
    let (cubes, units) = grid_per_element(count);
    adam_kernel::launch::<R>(
        &gradient.client.clone(),
        cubes,
        units,
        parameter.into_array_arg(),
        mean.into_array_arg(),
        square.into_array_arg(),
        gradient.into_array_arg(),
        new_parameter.into_array_arg(),
        new_mean.into_array_arg(),
        new_square.into_array_arg(),
        step.beta_1 as f32,
        step.beta_2 as f32,
        (1.0 - step.beta_1) as f32,
        (1.0 - step.beta_2) as f32,
        step.decay_factor as f32,
        step.step_size as f32,
        step.square_factor as f32,
        step.epsilon as f32,
    );
    let [parameter, mean, square] = outputs.map(tensor);
    AdamState {
        parameter,
        mean,
        square,
    }
}

#[cube(launch)]
fn adam_kernel(
    parameter: &Array<f32>,
    mean: &Array<f32>,
    square: &Array<f32>,
    gradient: &Array<f32>,
    new_parameter: &mut Array<f32>,
    new_mean: &mut Array<f32>,
    new_square: &mut Array<f32>,
    beta_1: f32,
    beta_2: f32,
    rest_1: f32,
    rest_2: f32,
    decay_factor: f32,
    step_size: f32,
    square_factor: f32,
    epsilon: f32,
) {
    if ABSOLUTE_POS < gradient.len() {
        let slope = gradient[ABSOLUTE_POS];
        let first = mean[ABSOLUTE_POS] * beta_1 + slope * rest_1;
        let second = square[ABSOLUTE_POS] * beta_2 + slope * slope * rest_2;
        let step = first / (second.sqrt() * square_factor + epsilon) * step_size;
        new_parameter[ABSOLUTE_POS] = parameter[ABSOLUTE_POS] * decay_factor - step;
        new_mean[ABSOLUTE_POS] = first;
        new_square[ABSOLUTE_POS] = second;
    }
}
