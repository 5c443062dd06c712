//! Independence of the number of threads.

use burn_flex::Flex;

use super::{DROPOUTS, Input, all, random};
use crate::{
    Differentiable,
    model::ops::{
        AttentionMask, HeadLossRequest, LowRank, Orientation, TransformerGradients, TransformerOps,
    },
    parameters::values,
};

/// A network of all operations; wide enough that `gemm` uses several threads.
fn network([x, packed_weight, bias, down, up, gain, keys_weight]: [Input; 7]) -> Input {
    let adapter = Some(LowRank {
        down,
        up,
        scale: 2.0,
        dropout: DROPOUTS[1],
    });
    let normalized = Differentiable::layer_norm_rows(x, gain.clone(), gain.clone(), 1e-5);
    let packed = <Differentiable as TransformerOps>::linear(
        normalized,
        packed_weight,
        Orientation::InOut,
        Some(bias),
        adapter,
    );
    let mixed = Differentiable::packed_attention(packed, 4, &AttentionMask::window(2, 150, 150, 90));
    let mixed = Differentiable::rms_norm_rows(mixed, gain, 1e-5);
    let keys = <Differentiable as TransformerOps>::linear(
        mixed.clone(),
        keys_weight,
        Orientation::OutIn,
        None,
        None,
    );
    let mask = AttentionMask::causal(2);
    let mixed = <Differentiable as TransformerOps>::attention(mixed, keys.clone(), keys, &mask, 4, 2);
    let active = Differentiable::gelu_new(mixed.clone());
    Differentiable::swiglu(mixed, active)
}

const SHAPES: [[usize; 2]; 7] = [
    [300, 128],
    [128, 384],
    [1, 384],
    [128, 8],
    [8, 384],
    [1, 128],
    [64, 128],
];

/// Output, gradients and losses, bit by bit.
fn bits(threads: usize) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("threads").install(|| {
        let mut results = all(network, SHAPES);
        let (states, matrix) = (random::<Flex>(1, [300, 128]), random::<Flex>(2, [700, 128]));
        let required = HeadLossRequest {
            states: true,
            head: true,
            scale: 1.0,
        };
        let losses = Flex::head_losses(states, matrix, &[3; 300], required).expect("losses");
        for part in [losses.states, losses.head] {
            results.push(values(part.expect("a gradient")).expect("numbers"));
        }
        results.push(vec![losses.sum as f32]);
        results.into_iter().flatten().map(f32::to_bits).collect()
    })
}

/// WK-3: results do not depend on the number of threads.
#[test]
fn kernels_give_the_same_bits_with_any_number_of_threads() {
    let one = bits(1);
    assert!(one == bits(1), "the same twice");
    for threads in [2, 3, 7] {
        assert!(one == bits(threads), "{threads} threads");
    }
}
