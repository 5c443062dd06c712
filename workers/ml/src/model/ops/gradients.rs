//! The gradients of the operations of [`super::transformer`].
//!
//! Rule: each is defined by its form in [`super::backward`]; a backend may change how it is computed, never the result
//! beyond rounding.

use burn::tensor::Tensor;

use super::{
    attention_mask::AttentionMask,
    backward,
    head::{self, HeadLossRequest, HeadLosses},
    linear::{LinearGradients, LinearInputs, RequiredGradients},
    transformer::TransformerOps,
};
use crate::failure::Failure;

/// The gradients of [`TransformerOps`]; `dy` is the gradient of the operation's output.
pub trait TransformerGradients: TransformerOps {
    /// Gradients of `x` and, where `affine`, of gain and bias.
    fn layer_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<[Tensor<Self, 2>; 2]>) {
        backward::layer_norm_gradient(dy, x, gain, epsilon, affine)
    }

    /// Gradients of `x` and, where `affine`, of the gain.
    fn rms_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        backward::rms_norm_gradient(dy, x, gain, epsilon, affine)
    }

    /// The gradient of `x`.
    fn gelu_new_gradient(dy: Tensor<Self, 2>, x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        backward::gelu_new_gradient(dy, x)
    }

    /// Gradients of `gate` and `up`.
    fn swiglu_gradient(
        dy: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        backward::swiglu_gradient(dy, gate, up)
    }

    /// Gradients of queries, keys and values.
    fn attention_gradient(
        dy: Tensor<Self, 2>,
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        mask: &AttentionMask,
        heads: usize,
        key_heads: usize,
    ) -> [Tensor<Self, 2>; 3] {
        backward::attention_gradient(dy, queries, keys, values, mask, heads, key_heads)
    }

    /// The gradient of `packed`.
    fn packed_attention_gradient(
        dy: Tensor<Self, 2>,
        packed: Tensor<Self, 2>,
        heads: usize,
        mask: &AttentionMask,
    ) -> Tensor<Self, 2> {
        backward::packed_attention_gradient(dy, &packed, heads, mask)
    }

    /// The gradients that are `required`.
    fn linear_gradient(
        dy: Tensor<Self, 2>,
        inputs: LinearInputs<Self>,
        required: RequiredGradients,
    ) -> LinearGradients<Self> {
        backward::linear_gradient(dy, inputs, required)
    }

    /// The cross-entropies of `tokens` (one per row) with the scores `states · headᵀ`, for `states` `[n, width]` and
    /// `head` `[vocabulary, width]`, and their gradients.
    ///
    /// # Errors
    /// An internal failure when values cannot be read from the device.
    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        required: HeadLossRequest,
    ) -> Result<HeadLosses<Self>, Failure> {
        head::losses(&states, &head, tokens, required, head::MAX_SCORES)
    }
}
