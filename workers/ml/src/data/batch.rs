//! Batches: which pieces of a corpus a step sees, and as which numbers.
//!
//! Rule: rows shorter than the longest of a batch are padded at the end, where a causal model cannot see it
//! from the tokens that count.

use rand::Rng;

use super::Document;
use crate::random::{Purpose, stream};

/// Held-out pieces looked at in one evaluation, at most; taken evenly from all.
const EVALUATION_PIECES: usize = 128;

/// Rows of tokens with what follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row.
    pub length: usize,
    /// Tokens, row by row: `rows · length`.
    pub inputs: Vec<i32>,
    /// Places in `inputs` whose next token is learnt, in order.
    pub places: Vec<i32>,
    /// The next token of each of `places`.
    pub targets: Vec<i32>,
}

/// Draws batches from documents: text in proportion to its length, conversations alike.
#[derive(Clone, Debug)]
pub struct Sampler {
    documents: Vec<Document>,
    /// Running sum of how often each document is drawn.
    weights: Vec<u64>,
    length: usize,
}

impl Sampler {
    /// A sampler of rows of at most `length` tokens from `documents`, of which there is at least one.
    #[must_use]
    pub fn new(documents: Vec<Document>, length: usize) -> Self {
        let mut sum = 0;
        let weights = documents
            .iter()
            .map(|document| {
                let windows = if document.cut_anywhere {
                    document.tokens.len() / length
                } else {
                    1
                };
                sum += windows.max(1) as u64;
                sum
            })
            .collect();
        Self {
            documents,
            weights,
            length,
        }
    }

    /// Rows of one pass over all documents.
    #[must_use]
    pub fn sequences(&self) -> u64 {
        self.weights.last().copied().unwrap_or(0)
    }

    /// The batch of `rows` rows at (`step`, `micro`).
    #[must_use]
    pub fn batch(&self, rows: usize, seed: u64, step: u64, micro: u64) -> Batch {
        let mut rng = stream(seed, Purpose::Batch, step, micro);
        let total = self.weights.last().copied().unwrap_or(1);
        let pieces: Vec<Piece<'_>> = (0..rows)
            .map(|_| {
                let drawn = rng.random_range(0..total);
                let document = &self.documents[self.weights.partition_point(|weight| *weight <= drawn)];
                let spare = document.tokens.len().saturating_sub(self.length + 1);
                let start = if document.cut_anywhere {
                    rng.random_range(0..=spare)
                } else {
                    0
                };
                Piece::of(document, start, self.length)
            })
            .collect();
        assemble(&pieces)
    }
}

/// Consecutive tokens of a document: one row and the token after it.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    tokens: &'a [u32],
    learned: &'a [bool],
}

impl<'a> Piece<'a> {
    fn of(document: &'a Document, start: usize, length: usize) -> Self {
        let end = (start + length + 1).min(document.tokens.len());
        Self {
            tokens: &document.tokens[start..end],
            learned: &document.learned[start..end],
        }
    }
}

/// All of `documents` (evenly thinned to what one evaluation looks at) in batches of `rows` rows.
#[must_use]
pub fn evaluation(documents: &[Document], length: usize, rows: usize) -> Vec<Batch> {
    let mut pieces = Vec::new();
    for document in documents {
        let last = if document.cut_anywhere {
            document.tokens.len().saturating_sub(1)
        } else {
            1
        };
        pieces.extend(
            (0..last)
                .step_by(length)
                .map(|start| Piece::of(document, start, length)),
        );
    }
    let kept = pieces.len().min(EVALUATION_PIECES);
    let thinned: Vec<_> = (0..kept)
        .map(|index| pieces[index * pieces.len() / kept])
        .collect();
    thinned.chunks(rows).map(assemble).collect()
}

fn assemble(pieces: &[Piece<'_>]) -> Batch {
    let length = pieces
        .iter()
        .map(|piece| piece.tokens.len().saturating_sub(1))
        .max()
        .unwrap_or(0);
    let mut batch = Batch {
        rows: pieces.len(),
        length,
        inputs: Vec::new(),
        places: Vec::new(),
        targets: Vec::new(),
    };
    for piece in pieces {
        let start = batch.inputs.len();
        for (offset, pair) in piece.tokens.windows(2).enumerate() {
            batch.inputs.push(pair[0] as i32);
            if piece.learned[offset + 1] {
                batch.places.push((start + offset) as i32);
                batch.targets.push(pair[1] as i32);
            }
        }
        batch.inputs.resize(start + length, 0);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tokens: std::ops::Range<u32>) -> Document {
        Document {
            learned: vec![true; tokens.len()],
            tokens: tokens.collect(),
            cut_anywhere: true,
        }
    }

    fn chat(learned: &[bool]) -> Document {
        Document {
            tokens: (0..learned.len() as u32).collect(),
            learned: learned.to_vec(),
            cut_anywhere: false,
        }
    }

    #[test]
    fn each_target_is_the_token_after_its_place() {
        let batch = Sampler::new(vec![text(0..500)], 16).batch(4, 1, 2, 3);
        assert_eq!((batch.inputs.len(), batch.places.len()), (64, 64));
        for (place, target) in batch.places.iter().zip(&batch.targets) {
            assert_eq!(batch.inputs[*place as usize] + 1, *target);
        }
    }

    #[test]
    fn batches_repeat_for_a_step_and_differ_between_steps_and_micro_batches() {
        let sampler = Sampler::new(vec![text(0..500), text(500..900)], 16);
        assert_eq!(sampler.batch(4, 1, 2, 3), sampler.batch(4, 1, 2, 3));
        assert_ne!(sampler.batch(4, 1, 2, 3), sampler.batch(4, 1, 3, 3));
        assert_ne!(sampler.batch(4, 1, 2, 3), sampler.batch(4, 1, 2, 4));
        assert_ne!(sampler.batch(4, 1, 2, 3), sampler.batch(4, 2, 2, 3));
    }

    #[test]
    fn what_is_not_learnt_and_padding_have_no_target() {
        let documents = [chat(&[false, false, true, true]), chat(&[false, true])];
        let batches = evaluation(&documents, 8, 2);
        assert_eq!(
            batches,
            [Batch {
                rows: 2,
                length: 3,
                inputs: vec![0, 1, 2, 0, 0, 0],
                places: vec![1, 2, 3],
                targets: vec![2, 3, 1]
            }]
        );
    }

    #[test]
    fn an_evaluation_predicts_each_held_out_token_once() {
        let documents = [text(0..100)];
        let mut targets: Vec<_> = evaluation(&documents, 16, 3)
            .into_iter()
            .flat_map(|batch| batch.targets)
            .collect();
        targets.sort_unstable();
        assert_eq!(targets, (1..100).collect::<Vec<_>>());
    }
}
