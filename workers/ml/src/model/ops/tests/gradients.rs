//! The composite gradients, for backends without kernels, against the kernels, which the other tests compare with burn's autodiff.

use burn_flex::Flex;

use super::{DROPOUTS, assert_tensors, masks, random};
use crate::model::ops::{
    LinearGradients, LinearInputs, LowRank, Orientation, RequiredGradients, TransformerGradients, backward,
};

#[test]
fn gradients_of_norms_and_activations_are_those_of_the_kernels() {
    let [rows, width] = [67, 48];
    let [dy, x, other] = [1, 2, 3].map(|index| random::<Flex>(index, [rows, width]));
    let gain = random::<Flex>(4, [1, width]);
    let (ours, affine) = Flex::layer_norm_gradient(dy.clone(), x.clone(), gain.clone(), 1e-5, true);
    let (theirs, their_affine) =
        backward::layer_norm_gradient(dy.clone(), x.clone(), gain.clone(), 1e-5, true);
    assert_tensors([ours], [theirs]);
    assert_tensors(affine.expect("gradients"), their_affine.expect("gradients"));
    let (ours, affine) = Flex::rms_norm_gradient(dy.clone(), x.clone(), gain.clone(), 1e-5, true);
    let (theirs, their_affine) = backward::rms_norm_gradient(dy.clone(), x.clone(), gain, 1e-5, true);
    assert_tensors(
        [ours, affine.expect("a gradient")],
        [theirs, their_affine.expect("a gradient")],
    );
    assert_tensors(
        [Flex::gelu_new_gradient(dy.clone(), x.clone())],
        [backward::gelu_new_gradient(dy.clone(), x.clone())],
    );
    assert_tensors(
        Flex::swiglu_gradient(dy.clone(), x.clone(), other.clone()),
        backward::swiglu_gradient(dy.clone(), x.clone(), other.clone()),
    );
}

#[test]
fn gradients_of_attention_are_those_of_the_kernels() {
    let [rows, width] = [67, 48];
    let [dy, x] = [1, 2].map(|index| random::<Flex>(index, [rows, width]));
    let [keys, values] = [5, 6].map(|index| random::<Flex>(index, [rows, 16]));
    for mask in masks(1, rows) {
        assert_tensors(
            Flex::attention_gradient(dy.clone(), x.clone(), keys.clone(), values.clone(), &mask, 6, 2),
            backward::attention_gradient(dy.clone(), x.clone(), keys.clone(), values.clone(), &mask, 6, 2),
        );
        let packed = random::<Flex>(7, [rows, 3 * width]);
        assert_tensors(
            [Flex::packed_attention_gradient(
                dy.clone(),
                packed.clone(),
                3,
                &mask,
            )],
            [backward::packed_attention_gradient(dy.clone(), &packed, 3, &mask)],
        );
    }
}

#[test]
fn gradients_of_linear_layers_are_those_of_the_kernels() {
    let [rows, width] = [67, 48];
    let [dy, x] = [1, 2].map(|index| random::<Flex>(index, [rows, width]));
    for dropout in DROPOUTS {
        let inputs = LinearInputs {
            x: x.clone(),
            weight: random(8, [width, width]),
            orientation: Orientation::OutIn,
            adapter: Some(LowRank {
                down: random(9, [width, 3]),
                up: random(10, [3, width]),
                scale: 0.7,
                dropout,
            }),
        };
        let required = RequiredGradients {
            x: true,
            weight: true,
            bias: true,
            down: true,
            up: true,
        };
        let all = |found: LinearGradients<Flex>| {
            [found.x, found.weight, found.bias, found.down, found.up].map(|found| found.expect("a gradient"))
        };
        assert_tensors(
            all(Flex::linear_gradient(dy.clone(), inputs.clone(), required)),
            all(backward::linear_gradient(dy.clone(), inputs, required)),
        );
    }
}

/// A frozen matrix gets no gradient, and what learns gets the one it would get otherwise.
#[test]
fn only_what_learns_gets_a_gradient() {
    let [x, weight, down, up] = [(1, [70, 9]), (2, [9, 6]), (3, [9, 2]), (4, [2, 6])]
        .map(|(index, shape)| random::<Flex>(index, shape));
    let inputs = LinearInputs {
        x,
        weight,
        orientation: Orientation::InOut,
        adapter: Some(LowRank {
            down,
            up,
            scale: 2.0,
            dropout: DROPOUTS[1],
        }),
    };
    let dy = random::<Flex>(5, [70, 6]);
    let required = RequiredGradients {
        down: true,
        up: true,
        ..RequiredGradients::default()
    };
    let ours = Flex::linear_gradient(dy.clone(), inputs.clone(), required);
    assert!(ours.x.is_none() && ours.weight.is_none() && ours.bias.is_none());
    let theirs = backward::linear_gradient(dy, inputs, required);
    let both = |found: LinearGradients<Flex>| [found.down, found.up].map(|half| half.expect("a gradient"));
    assert_tensors(both(ours), both(theirs));
}
