//! Cross-entropy of given tokens through an output matrix, and its gradients, a few rows at a time.
//!
//! Rule: `[tokens, vocabulary]` never exists as a whole. Losses come by log-sum-exp, so that no probability is
//! rounded to 0 and not-a-number stays visible.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, backend::Backend};

use super::{
    TransformerGradients,
    composed::{like, wide},
};
use crate::{failure::Failure, parameters::values};

/// Scores that a processor works on at once, at most (64 MiB): the fewer rows, the more often the matrix is read.
pub(crate) const SCORES: usize = 1 << 24;

/// What [`super::TransformerGradients::head_losses`] gives.
#[derive(Clone, Debug)]
pub struct HeadLosses<B: Backend> {
    /// The sum of the cross-entropies in nats.
    pub sum: f64,
    /// The gradient of `scale · sum` with respect to the states, `[n, width]`; where it was asked for.
    pub states: Option<Tensor<B, 2>>,
    /// That with respect to the output matrix, `[vocabulary, width]`; where it was asked for.
    pub head: Option<Tensor<B, 2>>,
}

/// Which gradients of the losses are wanted, and of what multiple of their sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadWanted {
    /// With respect to the states.
    pub states: bool,
    /// With respect to the output matrix.
    pub head: bool,
    /// What the sum is multiplied by, such as 1 / tokens for their mean.
    pub scale: f64,
}

/// How many of `rows` are worked on at once so that they have at most `scores` scores, and the last ones are not
/// much fewer than the others.
pub(crate) fn rows_at_once(scores: usize, vocabulary: usize, rows: usize) -> usize {
    let most = (scores / vocabulary.max(1)).max(1);
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// See [`super::TransformerGradients::head_losses`]; at most `scores` of them are worked on at once.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn losses<B: TransformerGradients>(
    states: &Tensor<B, 2>,
    head: &Tensor<B, 2>,
    tokens: &[i32],
    wanted: HeadWanted,
    scores: usize,
) -> Result<HeadLosses<B>, Failure> {
    let at_once = rows_at_once(scores, head.dims()[0], tokens.len());
    let model = states.dtype();
    let mut all = Vec::new();
    let mut state_gradients = Vec::new();
    let mut head_gradient: Option<Tensor<B, 2>> = None;
    for (index, tokens) in tokens.chunks(at_once).enumerate() {
        let rows = states.clone().narrow(0, index * at_once, tokens.len());
        let scores = rows.clone().matmul(head.clone().transpose());
        let (losses, gradient) = B::cross_entropy(scores, tokens, wanted.scale);
        all.push(losses);
        if !(wanted.states || wanted.head) {
            continue;
        }
        if wanted.head {
            let part = wide(gradient.clone().transpose().matmul(rows));
            head_gradient = Some(match head_gradient.take() {
                Some(sum) => sum + part,
                None => part,
            });
        }
        if wanted.states {
            state_gradients.push(gradient.matmul(head.clone()));
        }
    }
    // Read together: each reading waits for the device.
    let losses = match all.is_empty() {
        true => Vec::new(),
        false => values(Tensor::cat(all, 0))?,
    };
    Ok(HeadLosses {
        sum: losses.into_iter().map(f64::from).sum(),
        states: (!state_gradients.is_empty()).then(|| Tensor::cat(state_gradients, 0)),
        head: head_gradient.map(|gradient| like(gradient, model)),
    })
}

/// See [`super::TransformerGradients::cross_entropy`].
pub fn cross_entropy<B: Backend>(
    scores: Tensor<B, 2>,
    tokens: &[i32],
    scale: f64,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let model = scores.dtype();
    let target = Tensor::<B, 2, Int>::from_data(
        TensorData::new(tokens.to_vec(), [tokens.len(), 1]),
        &scores.device(),
    );
    let scores = wide(scores);
    let shifted = scores.clone() - scores.max_dim(1);
    let chosen = shifted.clone().gather(1, target.clone());
    let powers = shifted.exp();
    let sums = powers.clone().sum_dim(1);
    let losses = sums.clone().log() - chosen;
    let minus_one = Tensor::full([tokens.len(), 1], -1.0, &losses.device());
    let gradient = (powers / sums).scatter(1, target, minus_one, IndexingUpdateOp::Add);
    (losses, like(gradient.mul_scalar(scale), model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_even_parts_that_fit() {
        assert_eq!(rows_at_once(100, 10, 25), 9, "three parts of at most ten rows");
        assert_eq!(rows_at_once(SCORES, 50_257, 254), 254, "all at once");
        assert_eq!(rows_at_once(5, 10, 3), 1, "a row at least");
        assert_eq!(rows_at_once(5, 10, 0), 1, "also of none");
    }
}
