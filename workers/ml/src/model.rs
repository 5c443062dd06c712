//! Causal language models: the GPT-2 family (Radford et al., 2019) and the Llama family (Touvron et al.,
//! arXiv:2307.09288), as computed by Hugging Face's `…ForCausalLM` classes.
//!
//! All models are stacks of pre-norm blocks that differ in the components of a block, so the components are enums.
//!
//! Rule: a network is a view of a [`ParameterSet`](crate::parameters::ParameterSet); it has no state of its own and
//! is rebuilt for each graph, so frozen, trained and evaluated networks have the same type.

mod adapter;
mod build;
mod cache;
pub mod config;
pub mod encoder;
pub mod folder;
pub mod generation;
pub mod ops;
mod rotary;
mod tokens;

use std::{collections::BTreeMap, sync::Arc};

pub use adapter::{Adapter, AdapterPass};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
pub use cache::KvCache;
use config::{ModelConfig, rope::Rope};
use ops::{AttentionMask, Orientation, TransformerOps};
use rotary::Rotation;
pub use tokens::TokenBatch;

/// `y = x · W (+ bias)`; an adapter may add to `y`.
#[derive(Clone, Debug)]
struct Linear<B: Backend> {
    /// In the layout of the file; see [`CausalModel::orientation`].
    weight: Tensor<B, 2>,
    /// `[1, out]`.
    bias: Option<Tensor<B, 2>>,
    /// Index in [`ModelConfig::linear_layers`].
    layer: usize,
}

/// Normalisation of rows; gains and biases are `[1, width]`.
#[derive(Clone, Debug)]
enum Norm<B: Backend> {
    /// Layer normalisation (arXiv:1607.06450).
    Layer { gain: Tensor<B, 2>, bias: Tensor<B, 2> },
    /// Root-mean-square normalisation (arXiv:1910.07467).
    Rms { gain: Tensor<B, 2> },
}

/// Self-attention.
#[derive(Clone, Debug)]
enum Attention<B: Backend> {
    /// One matrix computes queries, keys and values.
    Packed {
        input_projection: Linear<B>,
        output_projection: Linear<B>,
    },
    /// Grouped-query attention with rotary positions.
    Grouped(Box<GroupedAttention<B>>),
}

/// Grouped-query attention (arXiv:2305.13245): several query heads share a key head.
#[derive(Clone, Debug)]
struct GroupedAttention<B: Backend> {
    queries: Linear<B>,
    keys: Linear<B>,
    values: Linear<B>,
    output_projection: Linear<B>,
    /// Norms of the queries and keys of each head.
    qk_norms: Option<[Norm<B>; 2]>,
    /// Size of the sliding window, including the token itself.
    window: Option<usize>,
}

/// The feed-forward layer.
#[derive(Clone, Debug)]
enum FeedForward<B: Backend> {
    /// `gelu(x · W₁) · W₂`.
    Gelu {
        input_projection: Linear<B>,
        output_projection: Linear<B>,
    },
    /// `(silu(x · W₁) ⊙ (x · W₂)) · W₃` (arXiv:2002.05202).
    Gated {
        gate: Linear<B>,
        up: Linear<B>,
        down: Linear<B>,
    },
}

/// One transformer block.
#[derive(Clone, Debug)]
struct Block<B: Backend> {
    attention_norm: Norm<B>,
    attention: Attention<B>,
    feed_forward_norm: Norm<B>,
    feed_forward: FeedForward<B>,
}

/// How positions are encoded.
#[derive(Clone, Debug)]
enum Positions<B: Backend> {
    /// A learned embedding per position, which is added to the token's: `[context, width]`.
    Learned(Tensor<B, 2>),
    /// Rotary embedding of queries and keys.
    Rotary(Rope),
}

/// A causal language model.
#[derive(Clone, Debug)]
pub struct CausalModel<B: Backend> {
    config: Arc<ModelConfig>,
    epsilon: f64,
    orientation: Orientation,
    embedding: Tensor<B, 2>,
    positions: Positions<B>,
    blocks: Vec<Block<B>>,
    final_norm: Norm<B>,
    head: Tensor<B, 2>,
}

/// What all blocks of a forward pass share.
struct ForwardPass<'p, 'a, B: Backend> {
    adapter: Option<&'p mut AdapterPass<'a, B>>,
    cache: Option<&'p mut KvCache<B>>,
    rotation: Option<Rotation<B>>,
    /// By size of the sliding window.
    masks: BTreeMap<Option<usize>, AttentionMask>,
    batch: usize,
}

impl<B: TransformerOps> CausalModel<B> {
    /// Its shape.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The output matrix: `[vocab, width]`.
    #[must_use]
    pub fn head(&self) -> Tensor<B, 2> {
        self.head.clone()
    }

    /// The hidden states of `tokens` before the output matrix: `[n, width]`, row by row.
    ///
    /// With a `cache`, the tokens follow those of the cache and are added to it; the cache belongs to this number of
    /// rows. The caller ensures that positions are within the context and tokens within the vocabulary.
    pub fn hidden_states(
        &self,
        tokens: &TokenBatch,
        adapter: Option<&mut AdapterPass<'_, B>>,
        cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 2> {
        let device = self.embedding.device();
        let cached = cache.as_ref().map_or(0, |cache| cache.length());
        let ids = indices::<B>(tokens.ids.clone(), &device);
        let mut residual = self.embedding.clone().select(0, ids);
        let positions = tokens.positions(cached);
        let rotation = match &self.positions {
            Positions::Learned(table) => {
                let places = positions.iter().map(|position| *position as i32).collect();
                residual = residual + table.clone().select(0, indices::<B>(places, &device));
                None
            }
            Positions::Rotary(rope) => {
                Some(Rotation::new(rope, self.config.head_size(), &positions, &device))
            }
        };
        let mask = |window: Option<usize>| AttentionMask {
            batch: tokens.batch,
            first: tokens.first_visible(window, cached),
        };
        let windows = self.blocks.iter().map(|block| block.attention.window());
        let mut pass = ForwardPass {
            adapter,
            cache,
            rotation,
            masks: windows.map(|window| (window, mask(window))).collect(),
            batch: tokens.batch,
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let input = self.norm(&block.attention_norm, residual.clone());
            residual = residual + self.attention(&block.attention, index, input, &mut pass);
            let input = self.norm(&block.feed_forward_norm, residual.clone());
            residual = residual + self.feed_forward(&block.feed_forward, input, &mut pass);
        }
        self.norm(&self.final_norm, residual)
    }

    /// Scores of all tokens: `hidden` `[n, width]` → `[n, vocab]`.
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        <B as TransformerOps>::linear(hidden, self.head(), Orientation::OutIn, None, None)
    }

    fn norm(&self, norm: &Norm<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
        match norm {
            Norm::Layer { gain, bias } => B::layer_norm_rows(input, gain.clone(), bias.clone(), self.epsilon),
            Norm::Rms { gain } => B::rms_norm_rows(input, gain.clone(), self.epsilon),
        }
    }

    fn linear(
        &self,
        layer: &Linear<B>,
        input: Tensor<B, 2>,
        pass: &mut ForwardPass<'_, '_, B>,
    ) -> Tensor<B, 2> {
        let adapter = pass
            .adapter
            .as_deref_mut()
            .and_then(|adapter| adapter.low_rank(layer.layer));
        <B as TransformerOps>::linear(
            input,
            layer.weight.clone(),
            self.orientation,
            layer.bias.clone(),
            adapter,
        )
    }

    fn attention(
        &self,
        attention: &Attention<B>,
        block: usize,
        input: Tensor<B, 2>,
        pass: &mut ForwardPass<'_, '_, B>,
    ) -> Tensor<B, 2> {
        // There is a mask for every window.
        let mask = pass.masks.get(&attention.window()).cloned();
        let mask = mask.unwrap_or_else(|| AttentionMask::causal(pass.batch));
        match attention {
            Attention::Packed {
                input_projection,
                output_projection,
            } => {
                let packed = self.linear(input_projection, input, pass);
                let mixed = self.packed_attention(packed, block, &mask, pass);
                self.linear(output_projection, mixed, pass)
            }
            Attention::Grouped(layers) => {
                let mixed = self.grouped_attention(layers, block, input, &mask, pass);
                self.linear(&layers.output_projection, mixed, pass)
            }
        }
    }

    fn packed_attention(
        &self,
        packed: Tensor<B, 2>,
        block: usize,
        mask: &AttentionMask,
        pass: &mut ForwardPass<'_, '_, B>,
    ) -> Tensor<B, 2> {
        let heads = self.config.heads();
        match pass.cache.as_deref_mut() {
            None => B::packed_attention(packed, heads, mask),
            Some(cache) => {
                let [queries, keys, values] = split_qkv(&packed);
                let (keys, values) = cache.extend(block, pass.batch, keys, values);
                <B as TransformerOps>::attention(queries, keys, values, mask, heads, heads)
            }
        }
    }

    fn grouped_attention(
        &self,
        layers: &GroupedAttention<B>,
        block: usize,
        input: Tensor<B, 2>,
        mask: &AttentionMask,
        pass: &mut ForwardPass<'_, '_, B>,
    ) -> Tensor<B, 2> {
        let (heads, key_heads) = (self.config.heads(), self.config.key_heads());
        let mut queries = self.linear(&layers.queries, input.clone(), pass);
        let mut keys = self.linear(&layers.keys, input.clone(), pass);
        let values = self.linear(&layers.values, input, pass);
        if let Some([query_norm, key_norm]) = &layers.qk_norms {
            queries = self.qk_norm(query_norm, queries);
            keys = self.qk_norm(key_norm, keys);
        }
        if let Some(Rotation { cosines, sines }) = pass.rotation.clone() {
            queries = B::rotate(queries, cosines.clone(), sines.clone(), heads);
            keys = B::rotate(keys, cosines, sines, key_heads);
        }
        let (keys, values) = match pass.cache.as_deref_mut() {
            None => (keys, values),
            Some(cache) => cache.extend(block, pass.batch, keys, values),
        };
        <B as TransformerOps>::attention(queries, keys, values, mask, heads, key_heads)
    }

    fn feed_forward(
        &self,
        feed_forward: &FeedForward<B>,
        input: Tensor<B, 2>,
        pass: &mut ForwardPass<'_, '_, B>,
    ) -> Tensor<B, 2> {
        match feed_forward {
            FeedForward::Gelu {
                input_projection,
                output_projection,
            } => {
                let inner = B::gelu_new(self.linear(input_projection, input, pass));
                self.linear(output_projection, inner, pass)
            }
            FeedForward::Gated { gate, up, down } => {
                let gate = self.linear(gate, input.clone(), pass);
                let up = self.linear(up, input, pass);
                self.linear(down, B::swiglu(gate, up), pass)
            }
        }
    }

    /// Applies `norm` to each head of `rows` `[n, heads · size]`.
    fn qk_norm(&self, norm: &Norm<B>, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        let [count, width] = rows.dims();
        let size = self.config.head_size();
        self.norm(norm, rows.reshape([count * width / size, size]))
            .reshape([count, width])
    }
}

impl<B: Backend> Attention<B> {
    fn window(&self) -> Option<usize> {
        match self {
            Self::Packed { .. } => None,
            Self::Grouped(layers) => layers.window,
        }
    }
}

fn indices<B: Backend>(values: Vec<i32>, device: &B::Device) -> Tensor<B, 1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Queries, keys and values of `packed` `[n, 3 · width]`.
fn split_qkv<B: Backend>(packed: &Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let [rows, columns] = packed.dims();
    let width = columns / 3;
    [0, 1, 2].map(|part| packed.clone().slice([0..rows, part * width..(part + 1) * width]))
}
