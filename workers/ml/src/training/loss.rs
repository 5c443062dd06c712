//! Cross-entropy of the next token through the output matrix, without keeping the scores.
//!
//! Rule: `[tokens, vocabulary]` never enters the graph. The gradients with respect to the hidden states and
//! the output matrix are worked out on the inner backend and enter the graph as those of the surrogate
//! `Σ hidden · ∂hidden + Σ head · ∂head`, whose gradients they are exactly.

use burn::tensor::{
    Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use crate::{
    failure::Failure,
    model::ops::{HeadWanted, TransformerGradients},
};

/// What is learnt of a batch: places in the rows of hidden states, and the tokens that follow.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Rows of the hidden states.
    pub places: &'a [i32],
    /// The next token of each.
    pub tokens: &'a [i32],
}

/// A loss and, for the graph, the scalar with its gradients.
#[derive(Debug)]
pub struct HeadLoss<B: AutodiffBackend> {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Differentiate this; its value has no meaning.
    pub surrogate: Tensor<B, 1>,
}

/// The mean cross-entropy of `targets` for `hidden` `[n, width]` and `head` `[vocabulary, width]`. The gradients
/// are those of `share` times it; they flow to `head` where `head_learns`.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn head_loss<B: AutodiffBackend<InnerBackend: TransformerGradients>>(
    hidden: Tensor<B, 2>,
    head: Tensor<B, 2>,
    head_learns: bool,
    targets: Targets<'_>,
    share: f64,
) -> Result<HeadLoss<B>, Failure> {
    let selected = select(hidden, targets.places);
    let count = targets.tokens.len() as f64;
    let wanted = HeadWanted {
        states: true,
        head: head_learns,
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

/// The summed (not mean) cross-entropy in nats of `targets`, for evaluation.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn summed_loss<B: TransformerGradients>(
    hidden: Tensor<B, 2>,
    head: &Tensor<B, 2>,
    targets: Targets<'_>,
) -> Result<f64, Failure> {
    let wanted = HeadWanted {
        states: false,
        head: false,
        scale: 1.0,
    };
    let states = select(hidden, targets.places);
    Ok(B::head_losses(states, head.clone(), targets.tokens, wanted)?.sum)
}

fn select<B: Backend>(hidden: Tensor<B, 2>, places: &[i32]) -> Tensor<B, 2> {
    // All rows in order need no copy; that is the usual case for text.
    if places.len() == hidden.dims()[0] {
        return hidden;
    }
    let places = Tensor::from_data(TensorData::new(places.to_vec(), [places.len()]), &hidden.device());
    hidden.select(0, places)
}
