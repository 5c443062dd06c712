//! Forward passes of attention.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::matrix::{MatrixMut, MatrixView, Threads},
    block::{BLOCK, Block, Heads},
};
use crate::model::ops::attention_mask::AttentionMask;

/// See [`crate::model::ops::TransformerOps::attention`].
pub(crate) fn masked(
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    mask: &AttentionMask,
    heads: usize,
    key_heads: usize,
) -> Vec<f32> {
    let lengths = mask.lengths(queries.rows, keys.rows);
    let range = |sequence: usize, query: usize| mask.range(sequence, query, lengths.0, lengths.1);
    attend(queries, keys, values, lengths, range, heads, key_heads)
}

/// See [`crate::model::ops::TransformerOps::bidirectional_attention`].
pub(crate) fn bidirectional(
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    lengths: &[usize],
    heads: usize,
) -> Vec<f32> {
    let length = queries.rows / lengths.len().max(1);
    let range = |sequence: usize, _: usize| 0..lengths[sequence];
    attend(queries, keys, values, (length, length), range, heads, heads)
}

/// Attention of sequences of `length` queries and `key_length` keys; `range` gives the visible keys of a query of a
/// sequence.
fn attend(
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    (length, key_length): (usize, usize),
    range: impl Fn(usize, usize) -> Range<usize> + Sync,
    heads: usize,
    key_heads: usize,
) -> Vec<f32> {
    let (size, group) = (queries.size, heads / key_heads);
    let (width, scale) = (heads * size, 1.0 / (size as f32).sqrt());
    let mut output = vec![0.0; queries.rows * width];
    let sequences = output.par_chunks_mut((length * width).max(1)).enumerate();
    let blocks = sequences.flat_map(|(sequence, output)| {
        let blocks = output.par_chunks_mut(BLOCK * width).enumerate();
        blocks.map(move |(block, output)| (sequence, block * BLOCK, output))
    });
    blocks.for_each(|(sequence, start, output)| {
        let block = Block::new(start, length, |query| range(sequence, query));
        let mut weights = vec![0.0; block.count * block.keys];
        for head in 0..heads {
            let visible = (head / group, sequence * key_length + block.first_key, block.keys);
            block.weights(
                &mut weights,
                queries.view((head, sequence * length + start, block.count)),
                keys.view(visible),
                scale,
                |query| range(sequence, query),
            );
            MatrixMut::strided(&mut output[head * size..], [block.count, size], width).set(
                1.0,
                MatrixView::rows(&weights, block.shape()),
                values.view(visible),
                Threads::Current,
            );
        }
    });
    output
}
