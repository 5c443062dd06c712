//! State and coefficients of AdamW (arXiv:1711.05101).

use burn::tensor::{Tensor, backend::Backend};

/// A parameter with its optimizer state, in 32-bit floats.
#[derive(Clone, Debug)]
pub struct AdamState<B: Backend> {
    /// The parameter.
    pub parameter: Tensor<B, 2>,
    /// First moment: running mean of the gradients.
    pub mean: Tensor<B, 2>,
    /// Second moment: running mean of the squared gradients.
    pub square: Tensor<B, 2>,
}

/// Coefficients of one step of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Decay rate of the first moment.
    pub beta_1: f64,
    /// Decay rate of the second moment.
    pub beta_2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Factor of the parameter: 1 minus learning rate times weight decay.
    pub decay_factor: f64,
    /// Learning rate with the bias correction of the first moment.
    pub step_size: f64,
    /// Bias correction of the square root of the second moment.
    pub square_factor: f64,
}
