//! Cross-entropy of the next token through the (tied) output matrix, without keeping the scores.
//!
//! Rule: `[tokens, vocabulary]` never enters the graph. The gradients with respect to the hidden states and
//! the output matrix are worked out on the inner backend, a few rows at a time, and enter the graph as those
//! of the surrogate `Σ hidden · ∂hidden + Σ head · ∂head`, whose gradients they are exactly.

use burn::tensor::{
    IndexingUpdateOp, Int, Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use crate::{failure::Failure, parameters::values};

/// Scores worked on at once, at most (64 MiB).
const SCORES: usize = 1 << 24;

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

/// The mean cross-entropy of `targets` for `hidden` `[n, width]` and `head` `[vocabulary, width]`; gradients
/// flow to `head` where `head_learns`.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn head_loss<B: AutodiffBackend>(
    hidden: Tensor<B, 2>,
    head: Tensor<B, 2>,
    head_learns: bool,
    targets: Targets<'_>,
) -> Result<HeadLoss<B>, Failure> {
    let selected = select(hidden, targets.places);
    let (states, weights) = (selected.clone().inner(), head.clone().inner());
    let count = targets.tokens.len() as f64;
    let mut sum = 0.0;
    let mut state_gradients = Vec::new();
    let mut head_gradient: Option<Tensor<B::InnerBackend, 2>> = None;
    for chunk in chunks(states.dims(), weights.dims(), targets.tokens) {
        let rows = states.clone().slice([chunk.rows.clone(), 0..states.dims()[1]]);
        let Scored {
            losses,
            probabilities,
            target,
        } = score(rows.clone(), weights.clone(), chunk.tokens);
        sum += total(losses)?;
        let minus_one = Tensor::full([chunk.tokens.len(), 1], -1.0, &probabilities.device());
        let scores = probabilities
            .scatter(1, target, minus_one, IndexingUpdateOp::Add)
            .mul_scalar(1.0 / count);
        if head_learns {
            let part = scores.clone().transpose().matmul(rows);
            head_gradient = Some(match head_gradient.take() {
                Some(sum) => sum + part,
                None => part,
            });
        }
        state_gradients.push(scores.matmul(weights.clone()));
    }
    let gradient = Tensor::from_inner(Tensor::cat(state_gradients, 0));
    let mut surrogate = (selected * gradient).sum();
    if let Some(gradient) = head_gradient {
        surrogate = surrogate + (head * Tensor::from_inner(gradient)).sum();
    }
    Ok(HeadLoss {
        loss: sum / count,
        surrogate,
    })
}

/// The summed (not mean) cross-entropy in nats of `targets`, for evaluation.
///
/// # Errors
/// An internal failure when a number cannot be read from the device.
pub fn summed_loss<B: Backend>(
    hidden: Tensor<B, 2>,
    head: &Tensor<B, 2>,
    targets: Targets<'_>,
) -> Result<f64, Failure> {
    let states = select(hidden, targets.places);
    let mut sum = 0.0;
    for chunk in chunks(states.dims(), head.dims(), targets.tokens) {
        let rows = states.clone().slice([chunk.rows, 0..states.dims()[1]]);
        sum += total(score(rows, head.clone(), chunk.tokens).losses)?;
    }
    Ok(sum)
}

fn select<B: Backend>(hidden: Tensor<B, 2>, places: &[i32]) -> Tensor<B, 2> {
    // All rows in order need no copy; that is the usual case for text.
    if places.len() == hidden.dims()[0] {
        return hidden;
    }
    let places = Tensor::from_data(TensorData::new(places.to_vec(), [places.len()]), &hidden.device());
    hidden.select(0, places)
}

struct Chunk<'a> {
    rows: std::ops::Range<usize>,
    tokens: &'a [i32],
}

fn chunks(states: [usize; 2], head: [usize; 2], tokens: &[i32]) -> impl Iterator<Item = Chunk<'_>> {
    let size = (SCORES / head[0]).clamp(1, states[0].max(1));
    tokens.chunks(size).enumerate().map(move |(index, tokens)| {
        let start = index * size;
        Chunk {
            rows: start..start + tokens.len(),
            tokens,
        }
    })
}

struct Scored<B: Backend> {
    /// `[n, 1]`
    losses: Tensor<B, 2>,
    /// `[n, vocabulary]`
    probabilities: Tensor<B, 2>,
    /// `[n, 1]`
    target: Tensor<B, 2, Int>,
}

/// Losses by log-sum-exp, so that no probability is rounded to 0 and not-a-number stays visible.
fn score<B: Backend>(rows: Tensor<B, 2>, head: Tensor<B, 2>, tokens: &[i32]) -> Scored<B> {
    let target = Tensor::from_data(
        TensorData::new(tokens.to_vec(), [tokens.len(), 1]),
        &rows.device(),
    );
    let scores = rows.matmul(head.transpose());
    let shifted = scores.clone() - scores.max_dim(1);
    let chosen = shifted.clone().gather(1, target.clone());
    let powers = shifted.exp();
    let sums = powers.clone().sum_dim(1);
    Scored {
        losses: sums.clone().log() - chosen,
        probabilities: powers / sums,
        target,
    }
}

fn total<B: Backend>(losses: Tensor<B, 2>) -> Result<f64, Failure> {
    Ok(values(losses)?.into_iter().map(f64::from).sum())
}
