//! Dropout by the masks of [`crate::model::ops::dropout`], drawn on the device.
#![expect(clippy::manual_rotate, reason = "kernels know no other rotation")]

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeRuntime};
use cubecl::prelude::*;

use super::{
    Cube,
    matrix::{buffer, by_number, room_like, tensor},
};
use crate::model::ops::{
    Dropout,
    dropout::{GROUP, HALF},
};

/// See [`crate::model::ops::TransformerOps::dropped`].
pub(super) fn dropped<R: CubeRuntime, B: BoolElement>(
    x: Tensor<Cube<R, B>, 2>,
    dropout: Dropout,
) -> Tensor<Cube<R, B>, 2> {
    let count = x.shape().num_elements();
    let x = buffer(x);
    let output = room_like(&x);
    let (cubes, units) = by_number(count.div_ceil(GROUP) * HALF);
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

/// Each unit draws the two words of one counter, for two numbers.
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
    let place = counter / 16 * 32 + counter % 16;
    if place < x.len() {
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
        output[place] = kept::<F>(x[place], x_word, threshold, scale);
        if place + 16 < x.len() {
            output[place + 16] = kept::<F>(x[place + 16], y_word, threshold, scale);
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
fn kept<F: Float>(number: F, word: u32, threshold: u32, scale: f32) -> F {
    let mut factor = scale;
    if word < threshold {
        factor = 0.0f32;
    }
    F::cast_from(f32::cast_from(number) * factor)
}
