//! Dropout with the masks of [`crate::model::ops::dropout`], computed on the device.
#![expect(clippy::manual_rotate, reason = "kernels know no other rotation")]

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::buffers::{Cube, contiguous, empty_like, grid_per_element, tensor};
use crate::model::ops::dropout::{Dropout, GROUP, HALF};

/// See [`crate::model::ops::PrimitiveOps::apply_dropout`].
pub(super) fn apply_dropout<R: CubeRuntime, B: BoolElement>(
    x: Tensor<Cube<R, B>, 2>,
    dropout: Dropout,
) -> Tensor<Cube<R, B>, 2> {
    let count = x.shape().num_elements();
    let x = contiguous(x);
    let output = empty_like(&x);
    let (cubes, units) = grid_per_element(count.div_ceil(GROUP) * HALF);
    let [low, high] = dropout.words();
    let dtype = x.dtype.into();
    dropped_kernel::launch::<R>(
        &x.client.clone(),
        cubes,
        units,
        x.into_array_arg(),
        output.clone().into_array_arg(),
        low,
        high,
        dropout.threshold(),
        dropout.scale(),
        dtype,
    );
    tensor(output)
}

/// Each unit computes the two words of one counter, for two elements.
#[cube(launch)]
fn dropped_kernel<F: Float>(
    x: &Array<F>,
    output: &mut Array<F>,
    key_low: u32,
    key_high: u32,
    threshold: u32,
    scale: f32,
    #[define(F)] _dtype: StorageType,
) {
    let counter = ABSOLUTE_POS;
    let position = counter / 16 * 32 + counter % 16;
    if position < x.len() {
        let third = 0x1BD1_1BDAu32 ^ key_low ^ key_high;
        let mut x_word = counter as u32 + key_low;
        let mut y_word = key_high;
        mix(&mut x_word, &mut y_word, 13u32);
        mix(&mut x_word, &mut y_word, 15u32);
        mix(&mut x_word, &mut y_word, 26u32);
        mix(&mut x_word, &mut y_word, 6u32);
        x_word += key_high;
        y_word += third + 1u32;
        mix(&mut x_word, &mut y_word, 17u32);
        mix(&mut x_word, &mut y_word, 29u32);
        mix(&mut x_word, &mut y_word, 16u32);
        mix(&mut x_word, &mut y_word, 24u32);
        x_word += third;
        y_word += key_low + 2u32;
        mix(&mut x_word, &mut y_word, 13u32);
        mix(&mut x_word, &mut y_word, 15u32);
        mix(&mut x_word, &mut y_word, 26u32);
        mix(&mut x_word, &mut y_word, 6u32);
        x_word += key_low;
        y_word += key_high + 3u32;
        mix(&mut x_word, &mut y_word, 17u32);
        output[position] = masked_value::<F>(x[position], x_word, threshold, scale);
        if position + 16 < x.len() {
            output[position + 16] = masked_value::<F>(x[position + 16], y_word, threshold, scale);
        }
    }
}

/// A round of Threefry.
#[cube]
fn mix(x: &mut u32, y: &mut u32, turn: u32) {
    *x += *y;
    *y = ((*y << turn) | (*y >> (32u32 - turn))) ^ *x;
}

#[cube]
fn masked_value<F: Float>(number: F, word: u32, threshold: u32, scale: f32) -> F {
    let mut factor = scale;
    if word < threshold {
        factor = 0.0f32;
    }
    F::cast_from(f32::cast_from(number) * factor)
}
