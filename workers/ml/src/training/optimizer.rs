//! AdamW (Loshchilov and Hutter, arXiv:1711.05101) and gradient clipping, as in PyTorch.
//!
//! Rule: the order of operations is that of `torch.optim.AdamW`, with which a test compares.

use burn::tensor::{Tensor, backend::Backend};

use crate::{
    failure::Failure,
    model::ops::{
        TransformerGradients,
        optimizer::{AdamState, AdamStep},
    },
    parameters::{ParameterSet, values},
    spec::Adam,
};

/// State of the optimizer.
#[derive(Clone, Debug)]
pub struct AdamW<B: Backend> {
    /// First moments: running means of the gradients.
    pub mean: ParameterSet<B>,
    /// Second moments: running means of the squared gradients.
    pub square: ParameterSet<B>,
    /// Completed updates.
    pub updates: u32,
}

impl<B: TransformerGradients> AdamW<B> {
    /// The state before the first update of `parameters`.
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

    /// Updates `parameters` along `gradients`; parameters without gradient are unchanged.
    ///
    /// Matrices decay, vectors (biases and norms) do not, as in Hugging Face's `Trainer`.
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
            decay_factor: 1.0,
            step_size: learning_rate / mean_bias,
            square_factor: 1.0 / square_bias.sqrt(),
        };
        for name in parameters.names() {
            let Some(gradient) = gradients.take(&name) else {
                continue;
            };
            // Taken out of the sets, the tensors are unshared and can be updated in place.
            let taken = (
                parameters.take(&name),
                self.mean.take(&name),
                self.square.take(&name),
            );
            let (Some(parameter), Some(mean), Some(square)) = taken else {
                continue;
            };
            let decay = if parameter.dims()[0] > 1 {
                weight_decay
            } else {
                0.0
            };
            let step = AdamStep {
                decay_factor: 1.0 - learning_rate * decay,
                ..step
            };
            let state = AdamState {
                parameter,
                mean,
                square,
            };
            let updated = B::adam(state, gradient, &step);
            parameters.insert(name.clone(), updated.parameter);
            self.mean.insert(name.clone(), updated.mean);
            self.square.insert(name, updated.square);
        }
    }
}

/// Scales `gradients` down to a total norm of `limit` (`torch.nn.utils.clip_grad_norm_`); a limit of 0 disables
/// clipping. Returns the norm before clipping.
///
/// # Errors
/// An internal failure when values cannot be read from the device.
pub fn clip<B: Backend>(gradients: &mut ParameterSet<B>, limit: f64) -> Result<f64, Failure> {
    // By rows first: Flex splits a sum of four million elements among threads dynamically, and the order of a sum
    // affects its result.
    let square = |gradient: &Tensor<B, 2>| (gradient.clone() * gradient.clone()).sum_dim(1).sum();
    let squares: Vec<_> = gradients.iter().map(|(_, gradient)| square(gradient)).collect();
    // Read together, because each read waits for the device.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compute, parameters::matrix};

    /// JB-4, MO-2: the norm of a large gradient has the same bits whatever the number of threads.
    #[test]
    fn the_norm_of_large_gradients_does_not_depend_on_threads() {
        let shape = [2_100, 2_048];
        let numbers = |count: usize| -> Vec<f32> { (0..count).map(|at| (at as f32 * 0.37).sin()).collect() };
        let norm = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads").install(|| {
                let gradient = matrix(numbers(shape[0] * shape[1]), shape, &Default::default());
                let mut gradients = ParameterSet::<Compute>::default();
                gradients.insert("large", gradient);
                clip(&mut gradients, 0.0).expect("a norm")
            })
        };
        let alone = norm(1);
        assert!((alone / 1_466.0 - 1.0).abs() < 0.01, "{alone}");
        for threads in [2, 3, 7] {
            assert_eq!(norm(threads).to_bits(), alone.to_bits(), "{threads} threads");
        }
    }
}
