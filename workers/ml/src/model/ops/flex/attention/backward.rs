//! The backward pass of attention: one task per sequence and key head.

use rayon::prelude::*;

use super::{
    super::{
        matrix::{MatrixMut, MatrixView, Threads},
        simd::{dot, vectorized},
    },
    block::{BLOCK, Block, Heads},
};
use crate::model::ops::attention_mask::AttentionMask;

/// The inputs of a forward pass and the gradient of its output.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) dy: Heads<'a>,
    pub(crate) queries: Heads<'a>,
    pub(crate) keys: Heads<'a>,
    pub(crate) values: Heads<'a>,
    pub(crate) mask: &'a AttentionMask,
    /// Number of query heads and of key heads.
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
}

/// Where the gradients are written: one slice per row and head, in the order of rows.
#[derive(Default)]
pub(crate) struct GradientRows<'a> {
    pub(crate) queries: Vec<&'a mut [f32]>,
    pub(crate) keys: Vec<&'a mut [f32]>,
    pub(crate) values: Vec<&'a mut [f32]>,
}

impl<'a> GradientRows<'a> {
    /// Splits the slices by sequence and key head.
    fn by_key_head(self, inputs: &Inputs<'_>, length: usize, key_length: usize) -> Vec<Self> {
        let Inputs { heads, key_heads, .. } = *inputs;
        let mut tasks: Vec<Self> = (0..inputs.mask.batch * key_heads)
            .map(|_| Self::default())
            .collect();
        let group = heads / key_heads;
        for (index, slice) in self.queries.into_iter().enumerate() {
            let (row, head) = (index / heads, index % heads);
            tasks[row / length * key_heads + head / group].queries.push(slice);
        }
        let task = |index: usize| index / key_heads / key_length * key_heads + index % key_heads;
        for (index, slice) in self.keys.into_iter().enumerate() {
            tasks[task(index)].keys.push(slice);
        }
        for (index, slice) in self.values.into_iter().enumerate() {
            tasks[task(index)].values.push(slice);
        }
        tasks
    }
}

/// Buffers of a task that are reused from block to block.
struct Buffers {
    weights: Vec<f32>,
    d_weights: Vec<f32>,
    d_queries: Vec<f32>,
    d_keys: Vec<f32>,
    d_values: Vec<f32>,
}

impl Buffers {
    /// Makes room for the weights and the query gradients of `block`.
    fn resize(&mut self, block: &Block, size: usize) {
        self.weights.resize(block.count * block.keys, 0.0);
        self.d_weights.resize(block.count * block.keys, 0.0);
        self.d_queries.resize(block.count * size, 0.0);
    }
}

/// Writes the gradients of queries, keys and values to `rows`.
pub(crate) fn backward(inputs: Inputs<'_>, rows: GradientRows<'_>) {
    let (length, key_length) = inputs.mask.lengths(inputs.queries.rows, inputs.keys.rows);
    let size = inputs.queries.size;
    let tasks = rows.by_key_head(&inputs, length, key_length);
    tasks.into_par_iter().enumerate().for_each(|(index, mut rows)| {
        let sequence = index / inputs.key_heads;
        let mut buffers = Buffers {
            weights: Vec::new(),
            d_weights: Vec::new(),
            d_queries: Vec::new(),
            d_keys: vec![0.0; key_length * size],
            d_values: vec![0.0; key_length * size],
        };
        for start in (0..length).step_by(BLOCK) {
            let range = |query| inputs.mask.range(sequence, query, length, key_length);
            let block = Block::new(start, length, range);
            inputs.block_backward(
                index,
                &block,
                (length, key_length),
                &mut buffers,
                &mut rows.queries,
            );
        }
        copy_rows(rows.keys.into_iter(), &buffers.d_keys, size);
        copy_rows(rows.values.into_iter(), &buffers.d_values, size);
    });
}

impl Inputs<'_> {
    /// Adds the gradients of the keys and values of `block` to `buffers`, and writes those of its queries to `rows`.
    fn block_backward(
        &self,
        task: usize,
        block: &Block,
        (length, key_length): (usize, usize),
        buffers: &mut Buffers,
        rows: &mut [&mut [f32]],
    ) {
        let (sequence, key_head) = (task / self.key_heads, task % self.key_heads);
        let (size, group) = (self.queries.size, self.heads / self.key_heads);
        let scale = 1.0 / (size as f32).sqrt();
        let shape = block.shape();
        buffers.resize(block, size);
        let visible = (key_head, sequence * key_length + block.first_key, block.keys);
        let key_rows = block.first_key * size..(block.first_key + block.keys) * size;
        for member in 0..group {
            let queries = (
                key_head * group + member,
                sequence * length + block.start,
                block.count,
            );
            let range = |query| self.mask.range(sequence, query, length, key_length);
            block.weights(
                &mut buffers.weights,
                self.queries.view(queries),
                self.keys.view(visible),
                scale,
                range,
            );
            MatrixMut::rows(&mut buffers.d_values[key_rows.clone()], [block.keys, size]).add(
                1.0,
                MatrixView::rows(&buffers.weights, shape).transposed(),
                self.dy.view(queries),
                Threads::Current,
            );
            MatrixMut::rows(&mut buffers.d_weights, shape).set(
                1.0,
                self.dy.view(queries),
                self.values.view(visible).transposed(),
                Threads::Current,
            );
            softmax_backward(&buffers.weights, &mut buffers.d_weights, block.keys);
            let d_scores = MatrixView::rows(&buffers.d_weights, shape);
            MatrixMut::rows(&mut buffers.d_keys[key_rows.clone()], [block.keys, size]).add(
                scale,
                d_scores.transposed(),
                self.queries.view(queries),
                Threads::Current,
            );
            MatrixMut::rows(&mut buffers.d_queries, [block.count, size]).set(
                scale,
                d_scores,
                self.keys.view(visible),
                Threads::Current,
            );
            let rows = rows[block.start * group + member..].iter_mut().step_by(group);
            copy_rows(rows.map(|row| &mut **row), &buffers.d_queries, size);
        }
    }
}

fn copy_rows<'a>(targets: impl Iterator<Item = &'a mut [f32]>, source: &[f32], size: usize) {
    for (target, row) in targets.zip(source.chunks_exact(size)) {
        target.copy_from_slice(row);
    }
}

/// Replaces `d_weights` by the gradient of the scores, `weight · (d - Σ weight · d)` in each row; it is 0 for hidden
/// keys.
fn softmax_backward(weights: &[f32], d_weights: &mut [f32], keys: usize) {
    vectorized(
        #[inline(always)]
        || {
            for (weights, d) in weights.chunks_exact(keys).zip(d_weights.chunks_exact_mut(keys)) {
                let projection = dot(weights, d);
                for (weight, d) in weights.iter().zip(d) {
                    *d = weight * (*d - projection);
                }
            }
        },
    );
}
