//! Softmax attention straight on projected rows, a block of queries at a time.
//!
//! Rule: only the keys within a block's sight are touched, and nothing longer than a block of scores is kept;
//! the backward pass computes the weights again (the idea of FlashAttention, arXiv:2205.14135, without its
//! running softmax: a row of scores fits the cache).

use std::ops::Range;

use rayon::prelude::*;

use super::{
    lanes::{dot, softmax, vectorised},
    matrix::{Target, Threads, View},
};
use crate::model::ops::Sight;

/// Queries worked on at once.
const BLOCK: usize = 64;

/// Heads side by side in rows.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    numbers: &'a [f32],
    rows: usize,
    /// From a row to the next.
    stride: usize,
    /// Of each head.
    size: usize,
}

impl<'a> Heads<'a> {
    /// Heads of `size` in a matrix of `shape`, from `column` on.
    pub(super) fn of(numbers: &'a [f32], shape: [usize; 2], column: usize, size: usize) -> Self {
        Self {
            numbers: &numbers[column.min(numbers.len())..],
            rows: shape[0],
            stride: shape[1],
            size,
        }
    }

    /// Of a head, from a row on, so many rows: `[count, size]`.
    fn part(&self, (head, row, count): (usize, usize, usize)) -> View<'a> {
        let start = row * self.stride + head * self.size;
        View::strided(&self.numbers[start..], [count, self.size], self.stride)
    }
}

/// A block of queries of one sequence and the keys that any of them sees.
struct Block {
    /// First query of the block within its sequence, and how many there are.
    start: usize,
    count: usize,
    /// First key in sight within the sequence, and how many there are.
    seen: usize,
    width: usize,
}

impl Block {
    /// Of `queries`, from `start` on; `range` are the keys that a query sees.
    fn of(start: usize, queries: usize, range: impl Fn(usize) -> Range<usize>) -> Self {
        let count = BLOCK.min(queries - start);
        let ranges = || (start..start + count).map(&range);
        let seen = ranges().map(|range| range.start).min().unwrap_or(0);
        let end = ranges().map(|range| range.end).max().unwrap_or(0);
        Self {
            start,
            count,
            seen,
            width: end - seen,
        }
    }

    /// Fills `weights` `[count, width]` with the softmax of `queries · keysᵀ`.
    fn weights(
        &self,
        weights: &mut [f32],
        queries: View<'_>,
        keys: View<'_>,
        scale: f32,
        range: impl Fn(usize) -> Range<usize>,
    ) {
        Target::rows(weights, [self.count, self.width]).set(1.0, queries, keys.transposed(), Threads::This);
        vectorised(
            #[inline(always)]
            || {
                for (query, row) in weights.chunks_exact_mut(self.width).enumerate() {
                    let range = range(self.start + query);
                    let (before, rest) = row.split_at_mut(range.start - self.seen);
                    let (live, after) = rest.split_at_mut(range.len());
                    before.fill(0.0);
                    after.fill(0.0);
                    softmax(live, scale);
                }
            },
        );
    }
}

/// See [`crate::model::ops::TransformerOps::attention`].
pub(super) fn forward(
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    sight: &Sight,
    heads: usize,
    key_heads: usize,
) -> Vec<f32> {
    let lengths = sight.lengths(queries.rows, keys.rows);
    let range = |sequence: usize, query: usize| sight.range(sequence, query, lengths.0, lengths.1);
    within(queries, keys, values, lengths, range, heads, key_heads)
}

/// See [`crate::model::ops::TransformerOps::whole_attention`].
pub(super) fn whole(
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    lengths: &[usize],
    heads: usize,
) -> Vec<f32> {
    let length = queries.rows / lengths.len().max(1);
    let range = |sequence: usize, _: usize| 0..lengths[sequence];
    within(queries, keys, values, (length, length), range, heads, heads)
}

/// Attention of sequences of `length` queries and `seen` keys, of which `range` are those that a query of a
/// sequence sees.
fn within(
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    (length, seen): (usize, usize),
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
        let block = Block::of(start, length, |query| range(sequence, query));
        let mut weights = vec![0.0; block.count * block.width];
        for head in 0..heads {
            let sighted = (head / group, sequence * seen + block.seen, block.width);
            block.weights(
                &mut weights,
                queries.part((head, sequence * length + start, block.count)),
                keys.part(sighted),
                scale,
                |query| range(sequence, query),
            );
            Target::strided(&mut output[head * size..], [block.count, size], width).set(
                1.0,
                View::rows(&weights, [block.count, block.width]),
                values.part(sighted),
                Threads::This,
            );
        }
    });
    output
}

/// Where gradients go: one piece per row and head, in rows.
#[derive(Default)]
pub(super) struct Pieces<'a> {
    pub(super) queries: Vec<&'a mut [f32]>,
    pub(super) keys: Vec<&'a mut [f32]>,
    pub(super) values: Vec<&'a mut [f32]>,
}

impl<'a> Pieces<'a> {
    /// The pieces of each sequence and key head: rows of `group` query heads, of keys and of values.
    fn shared_out(
        self,
        length: usize,
        seen: usize,
        heads: usize,
        key_heads: usize,
        batch: usize,
    ) -> Vec<Self> {
        let mut shares: Vec<Self> = (0..batch * key_heads).map(|_| Self::default()).collect();
        let group = heads / key_heads;
        for (index, piece) in self.queries.into_iter().enumerate() {
            let (row, head) = (index / heads, index % heads);
            shares[row / length * key_heads + head / group]
                .queries
                .push(piece);
        }
        let rows = |pieces: Vec<&'a mut [f32]>| {
            let place = move |index: usize| index / key_heads / seen * key_heads + index % key_heads;
            pieces
                .into_iter()
                .enumerate()
                .map(move |(index, piece)| (place(index), piece))
        };
        for (share, piece) in rows(self.keys) {
            shares[share].keys.push(piece);
        }
        for (share, piece) in rows(self.values) {
            shares[share].values.push(piece);
        }
        shares
    }
}

/// Fills `pieces` with the gradients for `dy`.
#[expect(clippy::too_many_arguments, reason = "four matrices and their layout")]
pub(super) fn backward(
    dy: Heads<'_>,
    queries: Heads<'_>,
    keys: Heads<'_>,
    values: Heads<'_>,
    pieces: Pieces<'_>,
    sight: &Sight,
    heads: usize,
    key_heads: usize,
) {
    let (length, seen) = sight.lengths(queries.rows, keys.rows);
    let (size, group) = (queries.size, heads / key_heads);
    let scale = 1.0 / (size as f32).sqrt();
    let shares = pieces.shared_out(length, seen, heads, key_heads, sight.batch);
    shares.into_par_iter().enumerate().for_each(|(share, pieces)| {
        let (sequence, key_head) = (share / key_heads, share % key_heads);
        let [mut d_keys, mut d_values] = [vec![0.0; seen * size], vec![0.0; seen * size]];
        let [mut weights, mut d_weights, mut d_queries] = [const { Vec::new() }; 3];
        let mut queries_out = pieces.queries;
        for start in (0..length).step_by(BLOCK) {
            let block = Block::of(start, length, |query| sight.range(sequence, query, length, seen));
            let shape = [block.count, block.width];
            weights.resize(block.count * block.width, 0.0);
            d_weights.resize(block.count * block.width, 0.0);
            d_queries.resize(block.count * size, 0.0);
            let in_sight = (key_head, sequence * seen + block.seen, block.width);
            let sighted = block.seen * size..(block.seen + block.width) * size;
            for member in 0..group {
                let head = key_head * group + member;
                let rows = (head, sequence * length + start, block.count);
                block.weights(
                    &mut weights,
                    queries.part(rows),
                    keys.part(in_sight),
                    scale,
                    |query| sight.range(sequence, query, length, seen),
                );
                Target::rows(&mut d_values[sighted.clone()], [block.width, size]).add(
                    1.0,
                    View::rows(&weights, shape).transposed(),
                    dy.part(rows),
                    Threads::This,
                );
                Target::rows(&mut d_weights, shape).set(
                    1.0,
                    dy.part(rows),
                    values.part(in_sight).transposed(),
                    Threads::This,
                );
                through_softmax(&weights, &mut d_weights, block.width);
                let d_scores = View::rows(&d_weights, shape);
                Target::rows(&mut d_keys[sighted.clone()], [block.width, size]).add(
                    scale,
                    d_scores.transposed(),
                    queries.part(rows),
                    Threads::This,
                );
                Target::rows(&mut d_queries, [block.count, size]).set(
                    scale,
                    d_scores,
                    keys.part(in_sight),
                    Threads::This,
                );
                let out = queries_out[start * group + member..].iter_mut().step_by(group);
                for (out, row) in out.zip(d_queries.chunks_exact(size)) {
                    out.copy_from_slice(row);
                }
            }
        }
        for (out, row) in pieces.keys.into_iter().zip(d_keys.chunks_exact(size)) {
            out.copy_from_slice(row);
        }
        for (out, row) in pieces.values.into_iter().zip(d_values.chunks_exact(size)) {
            out.copy_from_slice(row);
        }
    });
}

/// `d_weights` becomes the gradient of the scores: `weight · (d - Σ weight · d)` in each row; 0 out of sight.
fn through_softmax(weights: &[f32], d_weights: &mut [f32], width: usize) {
    vectorised(
        #[inline(always)]
        || {
            for (weights, d) in weights.chunks_exact(width).zip(d_weights.chunks_exact_mut(width)) {
                let along = dot(weights, d);
                for (weight, d) in weights.iter().zip(d) {
                    *d = weight * (*d - along);
                }
            }
        },
    );
}
