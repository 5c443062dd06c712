//! Inputs and gradients of linear layers with a low-rank update.

use burn::tensor::{Tensor, backend::Backend};

use super::dropout::Dropout;

/// Layout of the matrix of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// `[in, out]`: GPT-2's `Conv1D`.
    InOut,
    /// `[out, in]`: `torch.nn.Linear`.
    OutIn,
}

/// A low-rank update of a matrix (LoRA, arXiv:2106.09685): it adds `scale · dropout(x) · down · up`.
#[derive(Clone, Debug)]
pub struct LowRank<B: Backend> {
    /// `[in, rank]`, LoRA's A.
    pub down: Tensor<B, 2>,
    /// `[rank, out]`, LoRA's B.
    pub up: Tensor<B, 2>,
    /// `alpha / rank`, or `alpha / √rank` for rsLoRA (arXiv:2312.03732).
    pub scale: f64,
    /// Dropout of its input; none outside of training.
    pub dropout: Option<Dropout>,
}

/// A gradient, where it is required.
type OptionalTensor<B> = Option<Tensor<B, 2>>;

/// Inputs of [`super::transformer::TransformerOps::linear`].
#[derive(Clone, Debug)]
pub struct LinearInputs<B: Backend> {
    /// `[n, in]`
    pub x: Tensor<B, 2>,
    /// The matrix.
    pub weight: Tensor<B, 2>,
    /// Layout of the matrix.
    pub orientation: Orientation,
    /// Its low-rank update.
    pub adapter: Option<LowRank<B>>,
}

/// Which gradients of [`super::transformer::TransformerOps::linear`] are required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequiredGradients {
    /// Gradient of the input.
    pub x: bool,
    /// Gradient of the matrix.
    pub weight: bool,
    /// Gradient of the bias.
    pub bias: bool,
    /// Gradient of the update's `down`.
    pub down: bool,
    /// Gradient of the update's `up`.
    pub up: bool,
}

/// Gradients of [`super::transformer::TransformerOps::linear`], each of the shape of its tensor.
#[derive(Clone, Debug)]
pub struct LinearGradients<B: Backend> {
    /// Gradient of the input.
    pub x: OptionalTensor<B>,
    /// Gradient of the matrix.
    pub weight: OptionalTensor<B>,
    /// Gradient of the bias, `[1, out]`.
    pub bias: OptionalTensor<B>,
    /// Gradient of the update's `down`.
    pub down: OptionalTensor<B>,
    /// Gradient of the update's `up`.
    pub up: OptionalTensor<B>,
}
