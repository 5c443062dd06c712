//! AdamW (Loshchilov and Hutter, arXiv:1711.05101) and the clipping of gradients, as PyTorch computes them.
//!
//! Rule: the order of operations is that of `torch.optim.AdamW`, which a test compares with.

use burn::tensor::{Tensor, backend::Backend};

use crate::{
    failure::Failure,
    model::ops::{
        TransformerGradients,
        gradients::{AdamState, AdamStep},
    },
    parameters::{ParameterSet, values},
    spec::Adam,
};

/// The optimiser's memory.
#[derive(Clone, Debug)]
pub struct AdamW<B: Backend> {
    /// Running mean of the gradients.
    pub mean: ParameterSet<B>,
    /// Running mean of the squared gradients.
    pub square: ParameterSet<B>,
    /// Updates done.
    pub updates: u32,
}

impl<B: TransformerGradients> AdamW<B> {
    /// Before the first update of `parameters`.
    #[must_use]
    pub fn new(parameters: &ParameterSet<B>) -> Self {
        let mut zeros = ParameterSet::default();
        for (name, tensor) in parameters.iter() {
            zeros.insert(name, tensor.zeros_like());
        }
        Self {
            mean: zeros.clone(),
            square: zeros,
            updates: 0,
        }
    }

    /// One update of `parameters` along `gradients`; a parameter without gradient stays.
    ///
    /// Matrices decay, vectors (biases and norms) do not, as Hugging Face's `Trainer` does it.
    pub fn update(
        &mut self,
        parameters: &mut ParameterSet<B>,
        mut gradients: ParameterSet<B>,
        learning_rate: f64,
        weight_decay: f64,
        adam: Adam,
    ) {
        let Adam {
            beta_1,
            beta_2,
            epsilon,
        } = adam;
        self.updates += 1;
        let updates = f64::from(self.updates);
        let (mean_bias, square_bias) = (1.0 - beta_1.powf(updates), 1.0 - beta_2.powf(updates));
        let step = AdamStep {
            beta_1,
            beta_2,
            epsilon,
            kept: 1.0,
            rate: learning_rate / mean_bias,
            square_factor: 1.0 / square_bias.sqrt(),
        };
        for name in parameters.names() {
            // Taken out of the sets, the tensors are unshared and may be computed in place.
            let taken = (
                parameters.take(&name),
                gradients.take(&name),
                self.mean.take(&name),
                self.square.take(&name),
            );
            let (Some(parameter), gradient, Some(mean), Some(square)) = taken else {
                continue;
            };
            let Some(gradient) = gradient else {
                parameters.insert(name.clone(), parameter);
                self.mean.insert(name.clone(), mean);
                self.square.insert(name, square);
                continue;
            };
            let decay = if parameter.dims()[0] > 1 {
                weight_decay
            } else {
                0.0
            };
            let state = AdamState {
                parameter,
                mean,
                square,
            };
            let step = AdamStep {
                kept: 1.0 - learning_rate * decay,
                ..step
            };
            let AdamState {
                parameter,
                mean,
                square,
            } = B::adam(state, gradient, &step);
            parameters.insert(name.clone(), parameter);
            self.mean.insert(name.clone(), mean);
            self.square.insert(name, square);
        }
    }
}

/// Scales `gradients` down to `limit` over all of them (`torch.nn.utils.clip_grad_norm_`); a limit of 0 leaves
/// them. Returns the norm before.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn clip<B: Backend>(gradients: &mut ParameterSet<B>, limit: f64) -> Result<f64, Failure> {
    let square = |gradient: &Tensor<B, 2>| (gradient.clone() * gradient.clone()).sum();
    let squares: Vec<_> = gradients.iter().map(|(_, gradient)| square(gradient)).collect();
    // Read together: each reading waits for the device.
    let squares = match squares.is_empty() {
        true => Vec::new(),
        false => values(Tensor::cat(squares, 0))?,
    };
    let norm = squares.into_iter().map(f64::from).sum::<f64>().sqrt();
    let factor = limit / (norm + 1e-6);
    if limit > 0.0 && factor < 1.0 {
        for name in gradients.names() {
            if let Some(gradient) = gradients.take(&name) {
                gradients.insert(name, gradient.mul_scalar(factor));
            }
        }
    }
    Ok(norm)
}
