//! Batches of token windows.
//!
//! Rule: rows shorter than the longest of a batch are padded at the end, where a causal model cannot attend to the
//! padding from real tokens.

use super::document::Document;

/// Windows per evaluation, at most; selected evenly from all.
const MAX_EVALUATION_WINDOWS: usize = 128;

/// Rows of tokens with their targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub length: usize,
    /// Input tokens, row by row: `rows · length`.
    pub inputs: Vec<i32>,
    /// Positions in `inputs` whose next token is a target, in order.
    pub target_positions: Vec<i32>,
    /// The next token at each of `target_positions`.
    pub targets: Vec<i32>,
    /// How samples share rows; `None` where each row is one sample from its start.
    pub packed: Option<Packed>,
}

/// How samples share rows (sequence packing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Position of each input within its own sample: `rows · length`.
    pub positions: Vec<u32>,
    /// For each input, where in its row its sample begins, which is the first position it attends to: `rows ·
    /// length`. Padding attends to itself only.
    pub first_visible: Vec<u32>,
}

/// Consecutive tokens of a document: the inputs of one row and the token after them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    tokens: &'a [u32],
    loss_mask: &'a [bool],
}

impl<'a> Window<'a> {
    pub(super) fn of(document: &'a Document, start: usize, length: usize) -> Self {
        let end = (start + length + 1).min(document.tokens.len());
        Self {
            tokens: &document.tokens[start..end],
            loss_mask: &document.loss_mask[start..end],
        }
    }
}

/// All of `documents` in batches of `rows` rows, thinned out evenly to [`MAX_EVALUATION_WINDOWS`].
#[must_use]
pub fn evaluation(documents: &[Document], length: usize, rows: usize) -> Vec<Batch> {
    let mut windows = Vec::new();
    for document in documents {
        let last = if document.splittable {
            document.tokens.len().saturating_sub(1)
        } else {
            1
        };
        windows.extend(
            (0..last)
                .step_by(length)
                .map(|start| Window::of(document, start, length)),
        );
    }
    let kept = windows.len().min(MAX_EVALUATION_WINDOWS);
    let thinned: Vec<_> = (0..kept)
        .map(|index| windows[index * windows.len() / kept])
        .collect();
    thinned
        .chunks(rows)
        .map(|windows| collate(&windows.iter().map(|window| vec![*window]).collect::<Vec<_>>()))
        .collect()
}

/// Builds a batch from rows of windows; the windows of a row follow one another.
pub(super) fn collate(rows: &[Vec<Window<'_>>]) -> Batch {
    let size = |window: &Window<'_>| window.tokens.len().saturating_sub(1);
    let length = rows
        .iter()
        .map(|row| row.iter().map(size).sum())
        .max()
        .unwrap_or(0);
    let mut batch = Batch {
        rows: rows.len(),
        length,
        inputs: Vec::new(),
        target_positions: Vec::new(),
        targets: Vec::new(),
        packed: None,
    };
    let mut packed = Packed {
        positions: Vec::new(),
        first_visible: Vec::new(),
    };
    for (index, row) in rows.iter().enumerate() {
        for window in row {
            let start = batch.inputs.len();
            for (offset, pair) in window.tokens.windows(2).enumerate() {
                batch.inputs.push(pair[0] as i32);
                packed.positions.push(offset as u32);
                packed.first_visible.push((start - index * length) as u32);
                if window.loss_mask[offset + 1] {
                    batch.target_positions.push((start + offset) as i32);
                    batch.targets.push(pair[1] as i32);
                }
            }
        }
        let end = (index + 1) * length;
        packed.positions.resize(end, 0);
        packed
            .first_visible
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
            loss_mask: vec![true; tokens.len()],
            tokens: tokens.collect(),
            splittable: true,
        }
    }

    fn chat(loss_mask: &[bool]) -> Document {
        Document {
            tokens: (0..loss_mask.len() as u32).collect(),
            loss_mask: loss_mask.to_vec(),
            splittable: false,
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
                target_positions: vec![1, 2, 3],
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
