//! What a backend must be able to do to train a transformer: the gradients of [`TransformerOps`].
//!
//! Rule: as there, each has one meaning, given by its form in [`by_hand`]; a backend may override the way.

use burn::tensor::{Tensor, backend::Backend};

use super::{
    LowRank, Orientation, Sight, TransformerOps, by_hand,
    head::{self, HeadLosses, HeadWanted},
};
use crate::failure::Failure;

/// A tensor of two dimensions that may be asked for or absent.
type Maybe<B> = Option<Tensor<B, 2>>;

/// What [`TransformerOps::linear`] was given.
#[derive(Clone, Debug)]
pub struct LinearInputs<B: Backend> {
    /// `[n, in]`
    pub x: Tensor<B, 2>,
    /// The matrix.
    pub weight: Tensor<B, 2>,
    /// How it is stored.
    pub orientation: Orientation,
    /// The update beside it.
    pub adapter: Option<LowRank<B>>,
}

/// Which gradients of [`TransformerOps::linear`] are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the input.
    pub x: bool,
    /// Of the matrix.
    pub weight: bool,
    /// Of the bias.
    pub bias: bool,
    /// Of the update's first matrix.
    pub down: bool,
    /// Of the update's second matrix.
    pub up: bool,
}

/// Gradients of [`TransformerOps::linear`], each in the shape of what it belongs to.
#[derive(Clone, Debug)]
pub struct LinearGradients<B: Backend> {
    /// Of the input.
    pub x: Maybe<B>,
    /// Of the matrix.
    pub weight: Maybe<B>,
    /// Of the bias, `[1, out]`.
    pub bias: Maybe<B>,
    /// Of the update's first matrix.
    pub down: Maybe<B>,
    /// Of the update's second matrix.
    pub up: Maybe<B>,
}

/// A parameter and the optimiser's memory of it, each in 32-bit floats.
#[derive(Clone, Debug)]
pub struct AdamState<B: Backend> {
    /// The parameter.
    pub parameter: Tensor<B, 2>,
    /// Running mean of its gradients.
    pub mean: Tensor<B, 2>,
    /// Running mean of their squares.
    pub square: Tensor<B, 2>,
}

/// The numbers of one step of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// How much of the running mean is kept.
    pub beta_1: f64,
    /// How much of the running mean of squares is kept.
    pub beta_2: f64,
    /// Keeps the denominator from 0.
    pub epsilon: f64,
    /// What the parameter is multiplied by: 1 less its decay.
    pub kept: f64,
    /// The learning rate, with the correction of the mean for its beginning at 0.
    pub rate: f64,
    /// The correction of the square root of the squares.
    pub square_factor: f64,
}

/// The gradients of [`TransformerOps`]; `dy` is always that of the operation's output.
pub trait TransformerGradients: TransformerOps {
    /// Gradients of `x` and, where `affine`, of gain and bias.
    fn layer_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<[Tensor<Self, 2>; 2]>) {
        by_hand::layer_norm_gradient(dy, x, gain, epsilon, affine)
    }

    /// Gradients of `x` and, where `affine`, of the gain.
    fn rms_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        by_hand::rms_norm_gradient(dy, x, gain, epsilon, affine)
    }

    /// The gradient of `x`.
    fn gelu_new_gradient(dy: Tensor<Self, 2>, x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        by_hand::gelu_new_gradient(dy, x)
    }

    /// Gradients of `gate` and `up`.
    fn swiglu_gradient(
        dy: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        by_hand::swiglu_gradient(dy, gate, up)
    }

    /// Gradients of queries, keys and values.
    fn attention_gradient(
        dy: Tensor<Self, 2>,
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        sight: &Sight,
        heads: usize,
        key_heads: usize,
    ) -> [Tensor<Self, 2>; 3] {
        by_hand::attention_gradient(dy, queries, keys, values, sight, heads, key_heads)
    }

    /// The gradient of `packed`.
    fn packed_attention_gradient(
        dy: Tensor<Self, 2>,
        packed: Tensor<Self, 2>,
        heads: usize,
        sight: &Sight,
    ) -> Tensor<Self, 2> {
        by_hand::packed_attention_gradient(dy, &packed, heads, sight)
    }

    /// The gradients that are `wanted`.
    fn linear_gradient(
        dy: Tensor<Self, 2>,
        inputs: LinearInputs<Self>,
        wanted: Wanted,
    ) -> LinearGradients<Self> {
        by_hand::linear_gradient(dy, inputs, wanted)
    }

    /// The gradient of the scores of [`TransformerOps::softmax_in_sight`], which gave `weights`.
    fn softmax_gradient(dy: Tensor<Self, 4>, weights: Tensor<Self, 4>, factor: f64) -> Tensor<Self, 4> {
        by_hand::softmax_gradient(dy, weights, factor)
    }

    /// The cross-entropies `[n, 1]` in nats, in 32-bit floats, of `tokens` (one per row) for `scores`
    /// `[n, vocabulary]`, and `scale` times their gradients.
    fn cross_entropy(
        scores: Tensor<Self, 2>,
        tokens: &[i32],
        scale: f64,
    ) -> (Tensor<Self, 2>, Tensor<Self, 2>) {
        head::cross_entropy(scores, tokens, scale)
    }

    /// One step of AdamW (arXiv:1711.05101) along `gradient`.
    fn adam(state: AdamState<Self>, gradient: Tensor<Self, 2>, step: &AdamStep) -> AdamState<Self> {
        by_hand::adam(state, gradient, step)
    }

    /// The cross-entropies of `tokens` (one per row) for the scores `states · headᵀ`, of `states` `[n, width]`
    /// and `head` `[vocabulary, width]`, and their gradients.
    ///
    /// # Errors
    /// An internal failure when a number cannot be read from the device.
    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        wanted: HeadWanted,
    ) -> Result<HeadLosses<Self>, Failure> {
        head::losses(&states, &head, tokens, wanted, head::SCORES)
    }
}
