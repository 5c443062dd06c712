//! The kernels against the composite forms, differentiated by burn.
//!
//! Tolerance: 32-bit sums of some hundred terms in another order differ by about 1e-6 of the largest; a wrong formula
//! causes 1e-2 and more. So elements may differ by 2e-5 of the largest of their matrix.

mod attention;
mod gradients;
mod linear;
mod rowwise;
mod threads;

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::Flex;

use super::{AttentionMask, Dropout};
use crate::{
    Differentiable,
    autodiff_guard::AutodiffGuard,
    parameters::{matrix, values},
    random::{Purpose, normal, stream},
};

type Input = Tensor<Differentiable, 2>;

fn random<B: Backend>(index: u64, shape: [usize; 2]) -> Tensor<B, 2> {
    let mut rng = stream(5, Purpose::Initialisation, 0, index);
    let numbers = normal(&mut rng, shape[0] * shape[1], 1.5);
    matrix(numbers, shape, &B::Device::default())
}

/// Output and gradients of `operation` on random leaves of `shapes`, for a loss with a random weight per output.
fn all<const N: usize>(operation: impl Fn([Input; N]) -> Input, shapes: [[usize; 2]; N]) -> Vec<Vec<f32>> {
    let _guard = AutodiffGuard::acquire();
    let mut index = 0;
    let leaves = shapes.map(|shape| {
        index += 1;
        random::<Differentiable>(index, shape).require_grad()
    });
    let output = operation(leaves.clone());
    let weights = random(99, output.dims());
    let gradients = (output.clone() * weights).sum().backward();
    let mut all = vec![values(output).expect("numbers")];
    all.extend(
        leaves
            .iter()
            .map(|leaf| values(leaf.grad(&gradients).expect("a gradient")).expect("numbers")),
    );
    all
}

fn assert_close(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs
        .iter()
        .fold(0f32, |largest, number| largest.max(number.abs()));
    for (ours, theirs) in ours.iter().zip(theirs) {
        let difference = (ours - theirs).abs();
        assert!(difference <= 2e-5 * largest.max(1.0), "{ours} against {theirs}");
    }
}

/// `ours` and `composite` give the same output and gradients.
fn assert_same<const N: usize>(
    shapes: [[usize; 2]; N],
    ours: impl Fn([Input; N]) -> Input,
    composite: impl Fn([Input; N]) -> Input,
) {
    for (ours, composite) in all(ours, shapes).iter().zip(&all(composite, shapes)) {
        assert_close(ours, composite);
    }
}

fn assert_tensors<const N: usize>(ours: [Tensor<Flex, 2>; N], theirs: [Tensor<Flex, 2>; N]) {
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_close(&values(ours).expect("numbers"), &values(theirs).expect("numbers"));
    }
}

/// One mask of each kind, for sequences of `length` queries and keys.
fn masks(batch: usize, length: usize) -> Vec<AttentionMask> {
    // Samples of 3, 70 and what is left, packed into each sequence.
    let packed = |place: usize| match place {
        0..3 => 0,
        3..73 => 3,
        _ => 73,
    };
    // Padding on the left, another amount in each sequence.
    let padded = |row: usize| (row / length * 2) as u32;
    vec![
        AttentionMask::causal(batch),
        AttentionMask::window(batch, length, length, 4),
        AttentionMask::from_first(
            batch,
            (0..batch * length).map(|row| packed(row % length)).collect(),
        ),
        AttentionMask::from_first(batch, (0..batch * length).map(padded).collect()),
    ]
}

const DROPOUTS: [Option<Dropout>; 2] = [
    None,
    Some(Dropout {
        probability: 0.3,
        key: 11,
    }),
];
