//! Linear layers, and losses through the output matrix.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::{DROPOUTS, Input, assert_same, assert_tensors, random};
use crate::{
    Differentiable,
    autodiff_guard::AutodiffGuard,
    model::ops::{
        HeadLossRequest, HeadLosses, LowRank, Orientation, TransformerGradients, TransformerOps, composite,
        head,
    },
};

#[test]
fn linear_layers_are_those_of_the_composite_form() {
    for [rows, input, output, rank] in [[1, 5, 3, 2], [2, 1, 1, 1], [67, 33, 17, 4], [130, 64, 96, 8]] {
        for orientation in [Orientation::InOut, Orientation::OutIn] {
            let weight = match orientation {
                Orientation::InOut => [input, output],
                Orientation::OutIn => [output, input],
            };
            assert_same(
                [[rows, input], weight],
                |[x, w]| <Differentiable as TransformerOps>::linear(x, w, orientation, None, None),
                |[x, w]| composite::linear(x, w, orientation, None, None),
            );
            for dropout in DROPOUTS {
                let adapter = |down, up| {
                    Some(LowRank {
                        down,
                        up,
                        scale: 0.5,
                        dropout,
                    })
                };
                assert_same(
                    [[rows, input], weight, [1, output], [input, rank], [rank, output]],
                    |[x, w, bias, a, b]| {
                        <Differentiable as TransformerOps>::linear(
                            x,
                            w,
                            orientation,
                            Some(bias),
                            adapter(a, b),
                        )
                    },
                    |[x, w, bias, a, b]| composite::linear(x, w, orientation, Some(bias), adapter(a, b)),
                );
            }
        }
    }
}

#[test]
fn losses_through_the_head_are_those_of_the_composite_form() {
    let [rows, width, vocabulary] = [37, 16, 101];
    let (states, matrix) = (
        random::<Flex>(1, [rows, width]),
        random::<Flex>(2, [vocabulary, width]),
    );
    let tokens: Vec<i32> = (0..rows).map(|row| (row * 13 % vocabulary) as i32).collect();
    let required = HeadLossRequest {
        states: true,
        head: true,
        scale: 0.25,
    };
    let ours = Flex::head_losses(states.clone(), matrix.clone(), &tokens, required).expect("losses");
    let theirs = head::losses(&states, &matrix, &tokens, required, head::MAX_SCORES).expect("losses");
    assert!((ours.sum / theirs.sum - 1.0).abs() < 1e-6, "{ours:?}");
    let both = |found: HeadLosses<Flex>| [found.states, found.head].map(|found| found.expect("a gradient"));
    assert_tensors(both(ours), both(theirs.clone()));

    // And both are burn's own, of the plain formula.
    let _guard = AutodiffGuard::acquire();
    let leaves = [states, matrix].map(|x| Input::from_inner(x).require_grad());
    let [states, matrix] = leaves.clone();
    let scores = burn::tensor::activation::log_softmax(states.matmul(matrix.transpose()), 1);
    let target = Tensor::from_data(
        burn::tensor::TensorData::new(tokens, [rows, 1]),
        &Default::default(),
    );
    let loss = scores.gather(1, target).sum().mul_scalar(-0.25);
    let gradients = loss.backward();
    assert_tensors(
        both(theirs),
        leaves.map(|leaf| leaf.grad(&gradients).expect("a gradient")),
    );
}
