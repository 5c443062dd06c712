//! Cross-entropy through an output matrix: scores, losses and gradients in one buffer that is used again.

use rayon::prelude::*;

use super::{
    lanes::{softmax, vectorised},
    matrix::{Target, Threads, View},
};
use crate::model::ops::head::{HeadWanted, SCORES, rows_at_once};

/// Rows whose softmax one task takes.
const ROWS: usize = 4;

/// The sum of the losses and the gradients that are wanted: see [`crate::model::ops::head`].
pub(super) struct Found {
    pub(super) sum: f64,
    pub(super) states: Option<Vec<f32>>,
    pub(super) head: Option<Vec<f32>>,
}

/// Of `states` `[n, width]` through `head` `[vocabulary, width]`.
pub(super) fn losses(
    states: &[f32],
    head: &[f32],
    width: usize,
    tokens: &[i32],
    wanted: HeadWanted,
) -> Found {
    let vocabulary = head.len() / width;
    let at_once = rows_at_once(SCORES, vocabulary, tokens.len());
    let (matrix, scale) = (View::rows(head, [vocabulary, width]), wanted.scale as f32);
    let mut scores = vec![0.0; at_once * vocabulary];
    let mut d_states = wanted.states.then(|| vec![0.0; states.len()]);
    let mut d_head = wanted.head.then(|| vec![0.0; head.len()]);
    let mut sum = 0.0;
    for (index, tokens) in tokens.chunks(at_once).enumerate() {
        let (count, start) = (tokens.len(), index * at_once * width);
        let rows = View::rows(&states[start..], [count, width]);
        let scores = &mut scores[..count * vocabulary];
        Target::rows(scores, [count, vocabulary]).set(1.0, rows, matrix.transposed(), Threads::All);
        sum += softmax_losses(scores, tokens, vocabulary);
        let scores = View::rows(scores, [count, vocabulary]);
        if let Some(d_head) = &mut d_head {
            let target = Target::rows(d_head, [vocabulary, width]);
            target.add(scale, scores.transposed(), rows, Threads::All);
        }
        if let Some(d_states) = &mut d_states {
            let target = Target::rows(&mut d_states[start..], [count, width]);
            target.set(scale, scores, matrix, Threads::All);
        }
    }
    Found {
        sum,
        states: d_states,
        head: d_head,
    }
}

/// `scores` become probabilities less 1 at each row's token; the sum of the losses.
fn softmax_losses(scores: &mut [f32], tokens: &[i32], vocabulary: usize) -> f64 {
    let tasks = scores
        .par_chunks_mut(ROWS * vocabulary)
        .zip(tokens.par_chunks(ROWS));
    let losses: Vec<f64> = tasks
        .map(|(scores, tokens)| {
            vectorised(
                #[inline(always)]
                || {
                    let mut sum = 0.0;
                    for (row, token) in scores.chunks_exact_mut(vocabulary).zip(tokens) {
                        let token = *token as usize;
                        let chosen = row[token];
                        let whole = softmax(row, 1.0);
                        row[token] -= 1.0;
                        sum += f64::from(whole.sum).ln() + f64::from(whole.greatest) - f64::from(chosen);
                    }
                    sum
                },
            )
        })
        .collect();
    losses.into_iter().sum()
}
