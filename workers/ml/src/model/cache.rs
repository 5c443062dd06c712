//! The KV cache: keys and values of the tokens that have been processed.
//!
//! Rule: the rows of a batch have equal length; shorter ones are padded on the left, and
//! [`super::TokenBatch::first_visible`] hides the padding.

use burn::tensor::{Tensor, backend::Backend};

/// Keys and values of all processed tokens, per block `[batch, length, key heads · size]`.
#[derive(Clone, Debug)]
pub struct KvCache<B: Backend> {
    blocks: Vec<(Tensor<B, 3>, Tensor<B, 3>)>,
}

impl<B: Backend> Default for KvCache<B> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<B: Backend> KvCache<B> {
    /// Number of tokens per row.
    #[must_use]
    pub fn length(&self) -> usize {
        self.blocks.first().map_or(0, |(keys, _)| keys.dims()[1])
    }

    /// Appends `keys` and `values` `[batch · length, columns]` to those of `block` and returns all of them,
    /// `[batch · length, columns]`.
    pub(super) fn extend(
        &mut self,
        block: usize,
        batch: usize,
        keys: Tensor<B, 2>,
        values: Tensor<B, 2>,
    ) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let rows = |part: Tensor<B, 2>| {
            let [count, columns] = part.dims();
            part.reshape([batch, count / batch, columns])
        };
        let (mut keys, mut values) = (rows(keys), rows(values));
        if let Some((old_keys, old_values)) = self.blocks.get(block).cloned() {
            keys = Tensor::cat(vec![old_keys, keys], 1);
            values = Tensor::cat(vec![old_values, values], 1);
        }
        let entry = (keys.clone(), values.clone());
        match self.blocks.get_mut(block) {
            Some(slot) => *slot = entry,
            None => self.blocks.push(entry),
        }
        let flat = |part: Tensor<B, 3>| {
            let [batch, length, columns] = part.dims();
            part.reshape([batch * length, columns])
        };
        (flat(keys), flat(values))
    }
}
