//! Cross-entropy through an output matrix, and its gradients, a chunk of rows at a time.
//!
//! Rule: the scores `[tokens, vocabulary]` never exist as a whole. Losses are computed by log-sum-exp, so no
//! probability is rounded to 0, and NaN propagates.

use burn::tensor::{Tensor, backend::Backend};

use super::{
    precision::{cast_to, to_f32},
    primitive::PrimitiveOps,
};
use crate::{failure::Failure, parameters::values};

/// Scores that the CPU computes at once, at most (64 MiB); smaller chunks read the matrix more often.
pub(crate) const MAX_SCORES: usize = 1 << 24;

/// Result of [`super::gradients::TransformerGradients::head_losses`].
#[derive(Clone, Debug)]
pub struct HeadLosses<B: Backend> {
    /// Sum of the cross-entropies in nats.
    pub sum: f64,
    /// Gradient of `scale · sum` with respect to the states, `[n, width]`, where requested.
    pub states: Option<Tensor<B, 2>>,
    /// Gradient with respect to the output matrix, `[vocabulary, width]`, where requested.
    pub head: Option<Tensor<B, 2>>,
}

/// Which gradients to compute, and a factor of the losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadLossRequest {
    /// Gradient with respect to the states.
    pub states: bool,
    /// Gradient with respect to the output matrix.
    pub head: bool,
    /// Factor of the sum, such as 1 / tokens for the mean.
    pub scale: f64,
}

/// Rows per chunk, so that a chunk has at most `scores` scores and the chunks of `rows` have similar sizes.
pub(crate) fn rows_per_chunk(scores: usize, vocabulary: usize, rows: usize) -> usize {
    let most = (scores / vocabulary.max(1)).max(1);
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// See [`super::gradients::TransformerGradients::head_losses`]; at most `scores` of them are worked on at once.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn losses<B: PrimitiveOps>(
    states: &Tensor<B, 2>,
    head: &Tensor<B, 2>,
    tokens: &[i32],
    required: HeadLossRequest,
    scores: usize,
) -> Result<HeadLosses<B>, Failure> {
    let at_once = rows_per_chunk(scores, head.dims()[0], tokens.len());
    let dtype = states.dtype();
    let mut all = Vec::new();
    let mut state_gradients = Vec::new();
    let mut head_gradient: Option<Tensor<B, 2>> = None;
    for (index, tokens) in tokens.chunks(at_once).enumerate() {
        let rows = states.clone().narrow(0, index * at_once, tokens.len());
        let scores = rows.clone().matmul(head.clone().transpose());
        let (losses, gradient) = B::cross_entropy(scores, tokens, required.scale);
        all.push(losses);
        if !(required.states || required.head) {
            continue;
        }
        if required.head {
            let part = to_f32(gradient.clone().transpose().matmul(rows));
            head_gradient = Some(match head_gradient.take() {
                Some(sum) => sum + part,
                None => part,
            });
        }
        if required.states {
            state_gradients.push(gradient.matmul(head.clone()));
        }
    }
    // Read together, because each read waits for the device.
    let losses = match all.is_empty() {
        true => Vec::new(),
        false => values(Tensor::cat(all, 0))?,
    };
    Ok(HeadLosses {
        sum: losses.into_iter().map(f64::from).sum(),
        states: (!state_gradients.is_empty()).then(|| Tensor::cat(state_gradients, 0)),
        head: head_gradient.map(|gradient| cast_to(gradient, dtype)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_even_parts_that_fit() {
        assert_eq!(rows_per_chunk(100, 10, 25), 9, "three parts of at most ten rows");
        assert_eq!(rows_per_chunk(MAX_SCORES, 50_257, 254), 254, "all at once");
        assert_eq!(rows_per_chunk(5, 10, 3), 1, "a row at least");
        assert_eq!(rows_per_chunk(5, 10, 0), 1, "also of none");
    }
}
