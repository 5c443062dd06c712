//! The operations on CubeCL backends, which compile kernels at run time: CUDA, and Vulkan for tests.
//!
//! Matrix products are the backend's; everything between them is one kernel each, computed in 32-bit floats whatever
//! the type of the tensors. burn's fusion of small operations is not used, because it computed wrong results for
//! whole Llama models (ops/adr/0020).
//!
//! Rule: each kernel is tested against the CPU's.

mod buffers;
mod dropout;
mod elementwise;
mod norms;
mod optimizer;
mod softmax;

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeRuntime};

use self::buffers::Cube;
use super::{
    attention_mask::AttentionMask,
    backward,
    dropout::Dropout,
    gradients::TransformerGradients,
    head::{self, HeadLossRequest, HeadLosses},
    optimizer::{AdamState, AdamStep},
    primitive::PrimitiveOps,
    transformer::TransformerOps,
};
use crate::failure::Failure;

/// Logits that are computed at once, at most (1 GiB in 32-bit floats).
const MAX_SCORES: usize = 1 << 28;

impl<R: CubeRuntime, B: BoolElement> PrimitiveOps for Cube<R, B> {
    fn masked_softmax(scores: Tensor<Self, 4>, mask: &AttentionMask, factor: f64) -> Tensor<Self, 4> {
        softmax::softmax(scores, mask, factor)
    }

    fn apply_dropout(x: Tensor<Self, 2>, dropout: Dropout) -> Tensor<Self, 2> {
        dropout::apply_dropout(x, dropout)
    }

    fn softmax_gradient(dy: Tensor<Self, 4>, weights: Tensor<Self, 4>, factor: f64) -> Tensor<Self, 4> {
        softmax::softmax_gradient(dy, weights, factor)
    }

    fn cross_entropy(
        scores: Tensor<Self, 2>,
        tokens: &[i32],
        scale: f64,
    ) -> (Tensor<Self, 2>, Tensor<Self, 2>) {
        softmax::cross_entropy(scores, tokens, scale)
    }

    fn adam(state: AdamState<Self>, gradient: Tensor<Self, 2>, step: &AdamStep) -> AdamState<Self> {
        optimizer::adam(state, gradient, step)
    }
}

impl<R: CubeRuntime, B: BoolElement> TransformerOps for Cube<R, B> {
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        norms::layer_norm(x, gain, bias, epsilon)
    }

    fn rms_norm_rows(x: Tensor<Self, 2>, gain: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        norms::rms_norm(x, gain, epsilon)
    }

    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        elementwise::gelu(x)
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        elementwise::swiglu(gate, up)
    }

    fn rotate(
        x: Tensor<Self, 2>,
        cos: Tensor<Self, 2>,
        sin: Tensor<Self, 2>,
        heads: usize,
    ) -> Tensor<Self, 2> {
        elementwise::rotate(x, cos, sin, heads)
    }
}

impl<R: CubeRuntime, B: BoolElement> TransformerGradients for Cube<R, B> {
    fn layer_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<[Tensor<Self, 2>; 2]>) {
        // The sums over rows are the backend's; they are needed only where norms are trained.
        match affine {
            true => backward::layer_norm_gradient(dy, x, gain, epsilon, affine),
            false => (norms::layer_norm_gradient(dy, x, gain, epsilon), None),
        }
    }

    fn rms_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        match affine {
            true => backward::rms_norm_gradient(dy, x, gain, epsilon, affine),
            false => (norms::rms_norm_gradient(dy, x, gain, epsilon), None),
        }
    }

    fn gelu_new_gradient(dy: Tensor<Self, 2>, x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        elementwise::gelu_gradient(dy, x)
    }

    fn swiglu_gradient(
        dy: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        elementwise::swiglu_gradient(dy, gate, up)
    }

    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        required: HeadLossRequest,
    ) -> Result<HeadLosses<Self>, Failure> {
        head::losses(&states, &head, tokens, required, MAX_SCORES)
    }
}
