//! Norms, activations and rotary positions.

use burn_flex::Flex;

use super::{Input, assert_close, assert_same, assert_tensors, random};
use crate::{
    Differentiable,
    model::ops::{TransformerOps, composite},
    parameters::{matrix, values},
};

/// One row, one column, odd sizes, more rows than a task takes, more columns than lanes.
const SHAPES: [[usize; 2]; 5] = [[1, 7], [6, 1], [5, 16], [67, 33], [130, 48]];

#[test]
fn norms_are_those_of_the_composite_forms() {
    for [rows, width] in SHAPES {
        // One number is its own mean: with all variance gone, rounding is all that is left to compare.
        if width > 1 {
            assert_same(
                [[rows, width], [1, width], [1, width]],
                |[x, gain, bias]| Differentiable::layer_norm_rows(x, gain, bias, 1e-5),
                |[x, gain, bias]| composite::layer_norm_rows(x, gain, bias, 1e-5),
            );
        }
        assert_same(
            [[rows, width], [1, width]],
            |[x, gain]| Differentiable::rms_norm_rows(x, gain, 1e-6),
            |[x, gain]| composite::rms_norm_rows(x, gain, 1e-6),
        );
    }
}

#[test]
fn a_norm_of_rows_far_from_zero_keeps_its_digits() {
    // GPT-2's stream has such rows; sums of squares without the mean taken out would lose them.
    let shifted = |x: Input| x.add_scalar(100.0);
    assert_same(
        [[9, 64], [1, 64], [1, 64]],
        |[x, gain, bias]| Differentiable::layer_norm_rows(shifted(x), gain, bias, 1e-5),
        |[x, gain, bias]| composite::layer_norm_rows(shifted(x), gain, bias, 1e-5),
    );
}

#[test]
fn activations_are_those_of_the_composite_forms() {
    for shape in SHAPES {
        assert_same(
            [shape],
            |[x]| Differentiable::gelu_new(x),
            |[x]| composite::gelu_new(x),
        );
        assert_same(
            [shape, shape],
            |[gate, up]| Differentiable::swiglu(gate, up),
            |[gate, up]| composite::swiglu(gate, up),
        );
    }
    let to_f32 = random::<Flex>(1, [300, 70]).mul_scalar(2.0);
    assert_tensors(
        [Flex::gelu_erf(to_f32.clone())],
        [burn::tensor::activation::gelu(to_f32)],
    );
    // Far out, GELU is 0 or its input and SwiGLU's gate is closed or open.
    let far = matrix::<Flex>(vec![-1e4, -90.0, 90.0, 1e4], [1, 4], &Default::default());
    let gelu = values(Flex::gelu_new(far.clone())).expect("numbers");
    assert_close(&gelu, &[0.0, 0.0, 90.0, 1e4]);
    let silu = values(Flex::swiglu(far.clone(), far.ones_like())).expect("numbers");
    assert_close(&silu, &[0.0, 0.0, 90.0, 1e4]);
}

#[test]
fn gelu_is_that_of_the_tanh_form() {
    assert_same(
        [[4, 32]],
        |[x]| Differentiable::gelu_new(x),
        |[x]| {
            let cube = x.clone() * x.clone() * x.clone();
            let inner =
                (x.clone() + cube.mul_scalar(composite::GELU_CUBIC)).mul_scalar(composite::SQRT_2_OVER_PI);
            x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
        },
    );
}

#[test]
fn rotary_positions_are_those_of_the_composite_form() {
    for (rows, heads, size) in [(1, 1, 2), (7, 3, 6), (400, 2, 64)] {
        let angles = random::<Differentiable>(50, [rows, size / 2]);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        assert_same(
            [[rows, heads * size]],
            |[x]| Differentiable::rotate(x, cos.clone(), sin.clone(), heads),
            |[x]| composite::rotate(x, cos.clone(), sin.clone(), heads),
        );
    }
}
