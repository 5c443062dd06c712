//! The operations on backends that compile their kernels at run time (CubeCL): CUDA, and Vulkan for tests.
//!
//! Matrices are multiplied by the backend; what lies between the products is one kernel each here, in 32-bit
//! floats whatever the matrices have. burn's own fusion of small operations is not used: it gave wrong numbers for
//! whole Llama models (ops/adr/0020). Rule: each kernel is tested against the processor's.

mod dropout;
mod elements;
mod matrix;
mod norms;
mod optimizer;
mod softmax;

use burn::tensor::Tensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};

use super::{
    Dropout, HeadLosses, HeadWanted, Sight, TransformerGradients, TransformerOps, by_hand,
    gradients::{AdamState, AdamStep},
    head,
};
use crate::failure::Failure;

/// Scores that a device works on at once, at most (1 GiB in 32-bit floats).
const SCORES: usize = 1 << 28;

/// A backend of CubeCL with the floats and integers that the engine uses.
type Cube<R, B> = CubeBackend<R, f32, i32, B>;

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
        elements::gelu(x)
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        elements::swiglu(gate, up)
    }

    fn rotate(
        x: Tensor<Self, 2>,
        cos: Tensor<Self, 2>,
        sin: Tensor<Self, 2>,
        heads: usize,
    ) -> Tensor<Self, 2> {
        elements::rotate(x, cos, sin, heads)
    }

    fn softmax_in_sight(scores: Tensor<Self, 4>, sight: &Sight, factor: f64) -> Tensor<Self, 4> {
        softmax::softmax(scores, sight, factor)
    }

    fn dropped(x: Tensor<Self, 2>, dropout: Dropout) -> Tensor<Self, 2> {
        dropout::dropped(x, dropout)
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
        // The sums over rows are the backend's; they are wanted only where norms are trained.
        match affine {
            true => by_hand::layer_norm_gradient(dy, x, gain, epsilon, affine),
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
            true => by_hand::rms_norm_gradient(dy, x, gain, epsilon, affine),
            false => (norms::rms_norm_gradient(dy, x, gain, epsilon), None),
        }
    }

    fn gelu_new_gradient(dy: Tensor<Self, 2>, x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        elements::gelu_gradient(dy, x)
    }

    fn swiglu_gradient(
        dy: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        elements::swiglu_gradient(dy, gate, up)
    }

    fn softmax_gradient(dy: Tensor<Self, 4>, weights: Tensor<Self, 4>, factor: f64) -> Tensor<Self, 4> {
        softmax::softmax_gradient(dy, weights, factor)
    }

    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        wanted: HeadWanted,
    ) -> Result<HeadLosses<Self>, Failure> {
        head::losses(&states, &head, tokens, wanted, SCORES)
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
