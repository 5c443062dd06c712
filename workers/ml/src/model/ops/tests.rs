//! The kernels and the hand-worked gradients against the composed forms, differentiated by burn.
//!
//! Tolerance: 32-bit sums of some hundreds in another order differ by some 1e-6 of the largest; a wrong
//! formula by 1e-2 and more. So numbers may differ by 2e-5 of the largest of their matrix.

use burn::tensor::{Tensor, backend::Backend};
use burn_flex::Flex;

use super::{
    Dropout, HeadWanted, LinearInputs, LowRank, Orientation, Sight, TransformerGradients, TransformerOps,
    Wanted, by_hand, composed, head,
};
use crate::{
    Differentiable,
    graphs::Turn,
    parameters::{matrix, values},
    random::{Purpose, normal, stream},
};

type Input = Tensor<Differentiable, 2>;

fn random<B: Backend>(index: u64, shape: [usize; 2]) -> Tensor<B, 2> {
    let mut rng = stream(5, Purpose::Initialisation, 0, index);
    let numbers = normal(&mut rng, shape[0] * shape[1], 1.5);
    matrix(numbers, shape, &B::Device::default())
}

/// Output and gradients of `operation` on leaves drawn in `shapes`, for a loss that weighs each output number.
fn all<const N: usize>(operation: impl Fn([Input; N]) -> Input, shapes: [[usize; 2]; N]) -> Vec<Vec<f32>> {
    let _turn = Turn::wait();
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

/// `ours` and `composed` give the same output and gradients.
fn assert_same<const N: usize>(
    shapes: [[usize; 2]; N],
    ours: impl Fn([Input; N]) -> Input,
    composed: impl Fn([Input; N]) -> Input,
) {
    for (ours, composed) in all(ours, shapes).iter().zip(&all(composed, shapes)) {
        assert_close(ours, composed);
    }
}

fn assert_tensors<const N: usize>(ours: [Tensor<Flex, 2>; N], theirs: [Tensor<Flex, 2>; N]) {
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_close(&values(ours).expect("numbers"), &values(theirs).expect("numbers"));
    }
}

/// One row, one column, odd sizes, more rows than a task takes, more columns than lanes.
const SHAPES: [[usize; 2]; 5] = [[1, 7], [6, 1], [5, 16], [67, 33], [130, 48]];

#[test]
fn norms_are_those_of_the_composed_forms() {
    for [rows, width] in SHAPES {
        // One number is its own mean: with all variance gone, rounding is all that is left to compare.
        if width > 1 {
            assert_same(
                [[rows, width], [1, width], [1, width]],
                |[x, gain, bias]| Differentiable::layer_norm_rows(x, gain, bias, 1e-5),
                |[x, gain, bias]| composed::layer_norm_rows(x, gain, bias, 1e-5),
            );
        }
        assert_same(
            [[rows, width], [1, width]],
            |[x, gain]| Differentiable::rms_norm_rows(x, gain, 1e-6),
            |[x, gain]| composed::rms_norm_rows(x, gain, 1e-6),
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
        |[x, gain, bias]| composed::layer_norm_rows(shifted(x), gain, bias, 1e-5),
    );
}

#[test]
fn activations_are_those_of_the_composed_forms() {
    for shape in SHAPES {
        assert_same(
            [shape],
            |[x]| Differentiable::gelu_new(x),
            |[x]| composed::gelu_new(x),
        );
        assert_same(
            [shape, shape],
            |[gate, up]| Differentiable::swiglu(gate, up),
            |[gate, up]| composed::swiglu(gate, up),
        );
    }
    let wide = random::<Flex>(1, [300, 70]).mul_scalar(2.0);
    assert_tensors(
        [Flex::gelu_erf(wide.clone())],
        [burn::tensor::activation::gelu(wide)],
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
            let inner = (x.clone() + cube.mul_scalar(composed::CUBIC)).mul_scalar(composed::ROOT);
            x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
        },
    );
}

#[test]
fn rotary_positions_are_those_of_the_composed_form() {
    for (rows, heads, size) in [(1, 1, 2), (7, 3, 6), (400, 2, 64)] {
        let angles = random::<Differentiable>(50, [rows, size / 2]);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        assert_same(
            [[rows, heads * size]],
            |[x]| Differentiable::rotate(x, cos.clone(), sin.clone(), heads),
            |[x]| composed::rotate(x, cos.clone(), sin.clone(), heads),
        );
    }
}

/// Sequences of `length` queries and keys, each described once.
fn sights(batch: usize, length: usize) -> Vec<Sight> {
    // Samples of 3, 70 and what is left, packed into each sequence.
    let packed = |place: usize| match place {
        0..3 => 0,
        3..73 => 3,
        _ => 73,
    };
    // Padding on the left, another amount in each sequence.
    let padded = |row: usize| (row / length * 2) as u32;
    vec![
        Sight::causal(batch),
        Sight::window(batch, length, length, 4),
        Sight::from_first(
            batch,
            (0..batch * length).map(|row| packed(row % length)).collect(),
        ),
        Sight::from_first(batch, (0..batch * length).map(padded).collect()),
    ]
}

#[test]
fn attention_is_that_of_the_composed_form() {
    // Heads and key heads: alone, each its own, shared; lengths: one, odd, more than a block.
    for (heads, key_heads, size) in [(1, 1, 5), (4, 4, 8), (6, 2, 4), (3, 1, 16)] {
        for (batch, length) in [(3, 1), (2, 7), (2, 131)] {
            for sight in sights(batch, length) {
                let rows = batch * length;
                let key_width = key_heads * size;
                assert_same(
                    [[rows, heads * size], [rows, key_width], [rows, key_width]],
                    |[q, k, v]| {
                        <Differentiable as TransformerOps>::attention(q, k, v, &sight, heads, key_heads)
                    },
                    |[q, k, v]| composed::attention(q, k, v, &sight, heads, key_heads),
                );
            }
        }
    }
}

#[test]
fn attention_in_which_all_see_all_is_that_of_the_composed_form() {
    for (lengths, longest, heads, size) in [
        (vec![1], 1, 1, 4),
        (vec![7, 3], 7, 2, 8),
        (vec![80, 131], 131, 4, 16),
    ] {
        let shape = [lengths.len() * longest, heads * size];
        let [q, k, v] = [1, 2, 3].map(|index| random::<Flex>(index, shape));
        assert_tensors(
            [Flex::whole_attention(
                q.clone(),
                k.clone(),
                v.clone(),
                &lengths,
                heads,
            )],
            [composed::whole_attention(q, k, v, &lengths, heads)],
        );
    }
}

#[test]
fn attention_over_a_cache_is_that_of_the_composed_form() {
    for (queries, keys) in [(1, 9), (5, 80)] {
        let window = Sight::window(2, queries, keys, 6);
        for sight in [Sight::causal(2), window] {
            assert_same(
                [[2 * queries, 24], [2 * keys, 8], [2 * keys, 8]],
                |[q, k, v]| <Differentiable as TransformerOps>::attention(q, k, v, &sight, 6, 2),
                |[q, k, v]| composed::attention(q, k, v, &sight, 6, 2),
            );
        }
    }
}

#[test]
fn packed_attention_is_that_of_the_composed_form() {
    for (heads, length) in [(1, 1), (4, 7), (3, 131)] {
        for sight in sights(2, length) {
            assert_same(
                [[2 * length, 3 * heads * 8]],
                |[packed]| Differentiable::packed_attention(packed, heads, &sight),
                |[packed]| composed::packed_attention(&packed, heads, &sight),
            );
        }
    }
}

/// Samples packed into one sequence compute what they compute alone.
#[test]
fn packed_samples_do_not_see_each_other() {
    let [q, k, v] = [1, 2, 3].map(|index| random::<Flex>(index, [10, 16]));
    let first = (0..10).map(|place| if place < 4 { 0 } else { 4 }).collect();
    let together = <Flex as TransformerOps>::attention(
        q.clone(),
        k.clone(),
        v.clone(),
        &Sight::from_first(1, first),
        2,
        2,
    );
    for (start, count) in [(0, 4), (4, 6)] {
        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().narrow(0, start, count));
        let alone = <Flex as TransformerOps>::attention(q, k, v, &Sight::causal(1), 2, 2);
        assert_tensors([together.clone().narrow(0, start, count)], [alone]);
    }
}

const DROPOUTS: [Option<Dropout>; 2] = [
    None,
    Some(Dropout {
        probability: 0.3,
        key: 11,
    }),
];

#[test]
fn linear_layers_are_those_of_the_composed_form() {
    for [rows, input, output, rank] in [[1, 5, 3, 2], [2, 1, 1, 1], [67, 33, 17, 4], [130, 64, 96, 8]] {
        for orientation in [Orientation::InOut, Orientation::OutIn] {
            let weight = match orientation {
                Orientation::InOut => [input, output],
                Orientation::OutIn => [output, input],
            };
            assert_same(
                [[rows, input], weight],
                |[x, w]| <Differentiable as TransformerOps>::linear(x, w, orientation, None, None),
                |[x, w]| composed::linear(x, w, orientation, None, None),
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
                    |[x, w, bias, a, b]| composed::linear(x, w, orientation, Some(bias), adapter(a, b)),
                );
            }
        }
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
    let wanted = Wanted {
        down: true,
        up: true,
        ..Wanted::default()
    };
    let ours = Flex::linear_gradient(dy.clone(), inputs.clone(), wanted);
    assert!(ours.x.is_none() && ours.weight.is_none() && ours.bias.is_none());
    let theirs = by_hand::linear_gradient(dy, inputs, wanted);
    let both =
        |found: super::LinearGradients<Flex>| [found.down, found.up].map(|half| half.expect("a gradient"));
    assert_tensors(both(ours), both(theirs));
}

/// The forms for backends without kernels, against the kernels (which the other tests hold to the oracle).
#[test]
fn gradients_worked_by_hand_are_those_of_the_kernels() {
    let [rows, width] = [67, 48];
    let [dy, x, other] = [1, 2, 3].map(|index| random::<Flex>(index, [rows, width]));
    let gain = random::<Flex>(4, [1, width]);
    let (ours, affine) = Flex::layer_norm_gradient(dy.clone(), x.clone(), gain.clone(), 1e-5, true);
    let (theirs, their_affine) =
        by_hand::layer_norm_gradient(dy.clone(), x.clone(), gain.clone(), 1e-5, true);
    assert_tensors([ours], [theirs]);
    assert_tensors(affine.expect("gradients"), their_affine.expect("gradients"));
    let (ours, affine) = Flex::rms_norm_gradient(dy.clone(), x.clone(), gain.clone(), 1e-5, true);
    let (theirs, their_affine) = by_hand::rms_norm_gradient(dy.clone(), x.clone(), gain, 1e-5, true);
    assert_tensors(
        [ours, affine.expect("a gradient")],
        [theirs, their_affine.expect("a gradient")],
    );
    assert_tensors(
        [Flex::gelu_new_gradient(dy.clone(), x.clone())],
        [by_hand::gelu_new_gradient(dy.clone(), x.clone())],
    );
    assert_tensors(
        Flex::swiglu_gradient(dy.clone(), x.clone(), other.clone()),
        by_hand::swiglu_gradient(dy.clone(), x.clone(), other.clone()),
    );
    let [keys, values] = [5, 6].map(|index| random::<Flex>(index, [rows, 16]));
    for sight in sights(1, rows) {
        assert_tensors(
            Flex::attention_gradient(dy.clone(), x.clone(), keys.clone(), values.clone(), &sight, 6, 2),
            by_hand::attention_gradient(dy.clone(), x.clone(), keys.clone(), values.clone(), &sight, 6, 2),
        );
        let packed = random::<Flex>(7, [rows, 3 * width]);
        assert_tensors(
            [Flex::packed_attention_gradient(
                dy.clone(),
                packed.clone(),
                3,
                &sight,
            )],
            [by_hand::packed_attention_gradient(dy.clone(), &packed, 3, &sight)],
        );
    }
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
        let wanted = Wanted {
            x: true,
            weight: true,
            bias: true,
            down: true,
            up: true,
        };
        let all = |found: super::LinearGradients<Flex>| {
            [found.x, found.weight, found.bias, found.down, found.up].map(|found| found.expect("a gradient"))
        };
        assert_tensors(
            all(Flex::linear_gradient(dy.clone(), inputs.clone(), wanted)),
            all(by_hand::linear_gradient(dy.clone(), inputs, wanted)),
        );
    }
}

#[test]
fn losses_through_the_head_are_those_of_the_composed_form() {
    let [rows, width, vocabulary] = [37, 16, 101];
    let (states, matrix) = (
        random::<Flex>(1, [rows, width]),
        random::<Flex>(2, [vocabulary, width]),
    );
    let tokens: Vec<i32> = (0..rows).map(|row| (row * 13 % vocabulary) as i32).collect();
    let wanted = HeadWanted {
        states: true,
        head: true,
        scale: 0.25,
    };
    let ours = Flex::head_losses(states.clone(), matrix.clone(), &tokens, wanted).expect("losses");
    let theirs = head::losses(&states, &matrix, &tokens, wanted, head::SCORES).expect("losses");
    assert!((ours.sum / theirs.sum - 1.0).abs() < 1e-6, "{ours:?}");
    let both =
        |found: super::HeadLosses<Flex>| [found.states, found.head].map(|found| found.expect("a gradient"));
    assert_tensors(both(ours), both(theirs.clone()));

    // And both are burn's own, of the plain formula.
    let _turn = Turn::wait();
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

/// WK-3: what is computed does not depend on the number of threads.
#[test]
fn kernels_give_the_same_bits_with_any_number_of_threads() {
    let bits = |threads: usize| -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        pool.install(|| {
            let dropout = DROPOUTS[1];
            // Wide enough that `gemm` shares its work out.
            let network = |[x, packed_weight, bias, down, up, gain, keys_weight]: [Input; 7]| {
                let adapter = Some(LowRank {
                    down,
                    up,
                    scale: 2.0,
                    dropout,
                });
                let normed = Differentiable::layer_norm_rows(x, gain.clone(), gain.clone(), 1e-5);
                let packed = <Differentiable as TransformerOps>::linear(
                    normed,
                    packed_weight,
                    Orientation::InOut,
                    Some(bias),
                    adapter,
                );
                let mixed = Differentiable::packed_attention(packed, 4, &Sight::window(2, 150, 150, 90));
                let mixed = Differentiable::rms_norm_rows(mixed, gain, 1e-5);
                let keys = <Differentiable as TransformerOps>::linear(
                    mixed.clone(),
                    keys_weight,
                    Orientation::OutIn,
                    None,
                    None,
                );
                let mixed = <Differentiable as TransformerOps>::attention(
                    mixed,
                    keys.clone(),
                    keys,
                    &Sight::causal(2),
                    4,
                    2,
                );
                let active = Differentiable::gelu_new(mixed.clone());
                Differentiable::swiglu(mixed, active)
            };
            let shapes = [
                [300, 128],
                [128, 384],
                [1, 384],
                [128, 8],
                [8, 384],
                [1, 128],
                [64, 128],
            ];
            let mut found = all(network, shapes);
            let (states, matrix) = (random::<Flex>(1, [300, 128]), random::<Flex>(2, [700, 128]));
            let wanted = HeadWanted {
                states: true,
                head: true,
                scale: 1.0,
            };
            let losses = Flex::head_losses(states, matrix, &[3; 300], wanted).expect("losses");
            for part in [losses.states, losses.head] {
                found.push(values(part.expect("a gradient")).expect("numbers"));
            }
            found.push(vec![losses.sum as f32]);
            found.into_iter().flatten().map(f32::to_bits).collect()
        })
    };
    let one = bits(1);
    assert!(one == bits(1), "the same twice");
    for threads in [2, 3, 7] {
        assert!(one == bits(threads), "{threads} threads");
    }
}
