//! Batches: pieces of a corpus as numbers.
//!
//! Rule: rows shorter than the longest of a batch are padded at the end, where a causal model cannot see it
//! from the tokens that count.

use super::Document;

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
    /// How samples share rows; `None` where each row is one sample from its start.
    pub packed: Option<Packed>,
}

/// How samples share rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// For each input its place within its own sample: `rows · length`.
    pub positions: Vec<u32>,
    /// For each input where in its row its own sample begins, which is the first place that it sees:
    /// `rows · length`. Padding sees itself alone.
    pub first: Vec<u32>,
}

/// Consecutive tokens of a document: one row and the token after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    tokens: &'a [u32],
    learned: &'a [bool],
}

impl<'a> Piece<'a> {
    pub(super) fn of(document: &'a Document, start: usize, length: usize) -> Self {
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
    thinned
        .chunks(rows)
        .map(|pieces| assemble(&pieces.iter().map(|piece| vec![*piece]).collect::<Vec<_>>()))
        .collect()
}

/// Rows of pieces, each row's one after the other.
pub(super) fn assemble(rows: &[Vec<Piece<'_>>]) -> Batch {
    let size = |piece: &Piece<'_>| piece.tokens.len().saturating_sub(1);
    let length = rows
        .iter()
        .map(|row| row.iter().map(size).sum())
        .max()
        .unwrap_or(0);
    let mut batch = Batch {
        rows: rows.len(),
        length,
        inputs: Vec::new(),
        places: Vec::new(),
        targets: Vec::new(),
        packed: None,
    };
    let mut packed = Packed {
        positions: Vec::new(),
        first: Vec::new(),
    };
    for (index, row) in rows.iter().enumerate() {
        for piece in row {
            let start = batch.inputs.len();
            for (offset, pair) in piece.tokens.windows(2).enumerate() {
                batch.inputs.push(pair[0] as i32);
                packed.positions.push(offset as u32);
                packed.first.push((start - index * length) as u32);
                if piece.learned[offset + 1] {
                    batch.places.push((start + offset) as i32);
                    batch.targets.push(pair[1] as i32);
                }
            }
        }
        let end = (index + 1) * length;
        packed.positions.resize(end, 0);
        packed
            .first
            .extend((batch.inputs.len()..end).map(|place| (place - index * length) as u32));
        batch.inputs.resize(end, 0);
    }
    if rows.iter().any(|row| row.len() > 1) {
        batch.packed = Some(packed);
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
                targets: vec![2, 3, 1],
                packed: None
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
