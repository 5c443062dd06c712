//! Cross-entropy of the next token through the output matrix, without storing the scores.
//!
//! Rule: the scores `[tokens, vocabulary]` are never part of the graph. The gradients with respect to the hidden
//! states and the output matrix are computed on the inner backend and enter the graph as those of the surrogate `Σ
//! hidden · ∂hidden + Σ head · ∂head`, which has exactly these gradients.

use burn::tensor::{
    Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use crate::{
    failure::Failure,
    model::ops::{HeadLossRequest, TransformerGradients},
};

/// The targets of a batch: rows of the hidden states, and the tokens that follow.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Rows of the hidden states.
    pub positions: &'a [i32],
    /// The next token of each.
    pub tokens: &'a [i32],
}

/// A loss, and the scalar with its gradients.
#[derive(Debug)]
pub struct HeadLoss<B: AutodiffBackend> {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Differentiate this; its value is meaningless.
    pub surrogate: Tensor<B, 1>,
}

/// The mean cross-entropy of `targets` for `hidden` `[n, width]` and `head` `[vocabulary, width]`, with the gradients
/// of `share` times the loss; they include `head` where `trains_head`.
///
/// # Errors
/// An internal failure when values cannot be read from the device.
pub fn head_loss<B: AutodiffBackend<InnerBackend: TransformerGradients>>(
    hidden: Tensor<B, 2>,
    head: Tensor<B, 2>,
    trains_head: bool,
    targets: Targets<'_>,
    share: f64,
) -> Result<HeadLoss<B>, Failure> {
    let selected = select(hidden, targets.positions);
    let count = targets.tokens.len() as f64;
    let wanted = HeadLossRequest {
        states: true,
        head: trains_head,
        scale: share / count,
    };
    let (states, weights) = (selected.clone().inner(), head.clone().inner());
    let found = B::InnerBackend::head_losses(states, weights, targets.tokens, wanted)?;
    let along =
        |x: Tensor<B, 2>, gradient: Tensor<B::InnerBackend, 2>| (x * Tensor::from_inner(gradient)).sum();
    let parts = [
        found.states.map(|gradient| along(selected, gradient)),
        found.head.map(|gradient| along(head, gradient)),
    ];
    let surrogate = parts
        .into_iter()
        .flatten()
        .reduce(|sum, part| sum + part)
        .ok_or_else(|| Failure::internal("compute a loss", "a batch without targets"))?;
    Ok(HeadLoss {
        loss: found.sum / count,
        surrogate,
    })
}

/// The sum of the cross-entropies of `targets` in nats, for evaluation.
///
/// # Errors
/// An internal failure when values cannot be read from the device.
pub fn summed_loss<B: TransformerGradients>(
    hidden: Tensor<B, 2>,
    head: &Tensor<B, 2>,
    targets: Targets<'_>,
) -> Result<f64, Failure> {
    let wanted = HeadLossRequest {
        states: false,
        head: false,
        scale: 1.0,
    };
    let states = select(hidden, targets.positions);
    Ok(B::head_losses(states, head.clone(), targets.tokens, wanted)?.sum)
}

fn select<B: Backend>(hidden: Tensor<B, 2>, positions: &[i32]) -> Tensor<B, 2> {
    // Selecting all rows needs no copy, which is the usual case for text.
    if positions.len() == hidden.dims()[0] {
        return hidden;
    }
    let positions = Tensor::from_data(
        TensorData::new(positions.to_vec(), [positions.len()]),
        &hidden.device(),
    );
    hidden.select(0, positions)
}
