//! Cross-entropy through an output matrix: one buffer for scores, losses and gradients, reused for each chunk.

use rayon::prelude::*;

use super::{
    matrix::{MatrixMut, MatrixView, Threads},
    simd::{softmax, vectorized},
};
use crate::model::ops::head::{HeadLossRequest, MAX_SCORES, rows_per_chunk};

/// Rows of softmax per task.
const ROWS: usize = 4;

/// The sum of the losses and the required gradients, see [`crate::model::ops::head`].
pub(super) struct Losses {
    pub(super) sum: f64,
    pub(super) states: Option<Vec<f32>>,
    pub(super) head: Option<Vec<f32>>,
}

/// The losses of `states` `[n, width]` with the output matrix `head` `[vocabulary, width]`.
pub(super) fn losses(
    states: &[f32],
    head: &[f32],
    width: usize,
    tokens: &[i32],
    required: HeadLossRequest,
) -> Losses {
    let vocabulary = head.len() / width;
    let at_once = rows_per_chunk(MAX_SCORES, vocabulary, tokens.len());
    let (matrix, scale) = (MatrixView::rows(head, [vocabulary, width]), required.scale as f32);
    let mut scores = vec![0.0; at_once * vocabulary];
    let mut d_states = required.states.then(|| vec![0.0; states.len()]);
    let mut d_head = required.head.then(|| vec![0.0; head.len()]);
    let mut sum = 0.0;
    for (index, tokens) in tokens.chunks(at_once).enumerate() {
        let (count, start) = (tokens.len(), index * at_once * width);
        let rows = MatrixView::rows(&states[start..], [count, width]);
        let scores = &mut scores[..count * vocabulary];
        MatrixMut::rows(scores, [count, vocabulary]).set(1.0, rows, matrix.transposed(), Threads::Pool);
        sum += softmax_losses(scores, tokens, vocabulary);
        let scores = MatrixView::rows(scores, [count, vocabulary]);
        if let Some(d_head) = &mut d_head {
            let target = MatrixMut::rows(d_head, [vocabulary, width]);
            target.add(scale, scores.transposed(), rows, Threads::Pool);
        }
        if let Some(d_states) = &mut d_states {
            let target = MatrixMut::rows(&mut d_states[start..], [count, width]);
            target.set(scale, scores, matrix, Threads::Pool);
        }
    }
    Losses {
        sum,
        states: d_states,
        head: d_head,
    }
}

/// Replaces `scores` by probabilities, minus 1 at each row's token; returns the sum of the losses.
fn softmax_losses(scores: &mut [f32], tokens: &[i32], vocabulary: usize) -> f64 {
    let tasks = scores
        .par_chunks_mut(ROWS * vocabulary)
        .zip(tokens.par_chunks(ROWS));
    let losses: Vec<f64> = tasks
        .map(|(scores, tokens)| {
            vectorized(
                #[inline(always)]
                || {
                    let mut sum = 0.0;
                    for (row, token) in scores.chunks_exact_mut(vocabulary).zip(tokens) {
                        let token = *token as usize;
                        let chosen = row[token];
                        let whole = softmax(row, 1.0);
                        row[token] -= 1.0;
                        sum += f64::from(whole.sum).ln() + f64::from(whole.max_value) - f64::from(chosen);
                    }
                    sum
                },
            )
        })
        .collect();
    losses.into_iter().sum()
}
