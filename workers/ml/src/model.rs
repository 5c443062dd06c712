//! Causal language models: the GPT-2 family (Radford et al., 2019) and the Llama family (Touvron et al.,
//! arXiv:2307.09288), as Hugging Face's `…ForCausalLM` classes compute them.
//!
//! All are the same stack of pre-norm blocks and differ in their parts, so the parts are what varies here. Rule:
//! a network is a view of a [`ParameterSet`](crate::parameters::ParameterSet); it owns no state and is rebuilt
//! for each graph, so that frozen, trained and inner-backend networks are one type.

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

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
pub use cache::Cache;
use config::{ModelConfig, rope::Rope};
use ops::{Orientation, Sight, TransformerOps};
use rotary::Rotation;
pub use tokens::Tokens;

use crate::lora::AdapterPass;

/// `y = x · W (+ bias)`, where an adapter may add to `y`.
#[derive(Clone, Debug)]
struct Linear<B: Backend> {
    /// As the file has it; see [`CausalModel::orientation`].
    weight: Tensor<B, 2>,
    /// `[1, out]`.
    bias: Option<Tensor<B, 2>>,
    /// In [`ModelConfig::linears`].
    place: usize,
}

/// A normalisation of rows; gains and biases are `[1, width]`.
#[derive(Clone, Debug)]
enum Norm<B: Backend> {
    /// To mean 0 and variance 1 (arXiv:1607.06450).
    Layer { gain: Tensor<B, 2>, bias: Tensor<B, 2> },
    /// To mean square 1 (arXiv:1910.07467).
    Rms { gain: Tensor<B, 2> },
}

/// Self-attention.
#[derive(Clone, Debug)]
enum Attention<B: Backend> {
    /// One matrix gives queries, keys and values.
    Packed { enters: Linear<B>, leaves: Linear<B> },
    /// Rotated queries and keys of their own, several heads of queries to one of keys.
    Grouped {
        queries: Linear<B>,
        keys: Linear<B>,
        values: Linear<B>,
        leaves: Linear<B>,
        /// Norms of each head's queries and keys.
        head_norms: Option<[Norm<B>; 2]>,
        /// How many tokens a token sees, itself included.
        window: Option<usize>,
    },
}

/// The feed-forward layer.
#[derive(Clone, Debug)]
enum Feed<B: Backend> {
    /// `gelu(x · W₁) · W₂`.
    Gelu { enters: Linear<B>, leaves: Linear<B> },
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
    feed_norm: Norm<B>,
    feed: Feed<B>,
}

/// How a network knows where a token stands.
#[derive(Clone, Debug)]
enum Positions<B: Backend> {
    /// A learned row per position, added to the tokens: `[context, width]`.
    Learned(Tensor<B, 2>),
    /// Queries and keys are rotated by it.
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

/// What all blocks of a pass share.
struct Pass<'p, 'a, B: Backend> {
    adapter: Option<&'p mut AdapterPass<'a, B>>,
    cache: Option<&'p mut Cache<B>>,
    rotation: Option<Rotation<B>>,
    /// By window.
    sights: BTreeMap<Option<usize>, Sight>,
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

    /// What the network makes of `tokens` before the output matrix: `[n, width]`, row by row.
    ///
    /// With a `cache` the tokens follow those of the cache, which then holds them too and belongs to this many
    /// rows. The caller keeps positions within the context, and tokens within the vocabulary.
    pub fn hidden(
        &self,
        tokens: &Tokens,
        adapter: Option<&mut AdapterPass<'_, B>>,
        cache: Option<&mut Cache<B>>,
    ) -> Tensor<B, 2> {
        let device = self.embedding.device();
        let seen = cache.as_ref().map_or(0, |cache| cache.seen());
        let ids = indices::<B>(tokens.ids.clone(), &device);
        let mut stream = self.embedding.clone().select(0, ids);
        let positions = tokens.positions(seen);
        let rotation = match &self.positions {
            Positions::Learned(table) => {
                let places = positions.iter().map(|position| *position as i32).collect();
                stream = stream + table.clone().select(0, indices::<B>(places, &device));
                None
            }
            Positions::Rotary(rope) => {
                Some(Rotation::new(rope, self.config.head_size(), &positions, &device))
            }
        };
        let sight = |window: Option<usize>| Sight {
            batch: tokens.batch,
            first: tokens.first(window, seen),
        };
        let windows = self.blocks.iter().map(|block| block.attention.window());
        let mut pass = Pass {
            adapter,
            cache,
            rotation,
            sights: windows.map(|window| (window, sight(window))).collect(),
            batch: tokens.batch,
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let input = self.norm(&block.attention_norm, stream.clone());
            stream = stream + self.attention(&block.attention, index, input, &mut pass);
            let input = self.norm(&block.feed_norm, stream.clone());
            stream = stream + self.feed(&block.feed, input, &mut pass);
        }
        self.norm(&self.final_norm, stream)
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

    fn linear(&self, layer: &Linear<B>, input: Tensor<B, 2>, pass: &mut Pass<'_, '_, B>) -> Tensor<B, 2> {
        let adapter = pass
            .adapter
            .as_deref_mut()
            .and_then(|adapter| adapter.update(layer.place));
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
        pass: &mut Pass<'_, '_, B>,
    ) -> Tensor<B, 2> {
        let heads = self.config.heads();
        // There is a sight for every window.
        let sight = pass.sights.get(&attention.window()).cloned();
        let sight = sight.unwrap_or_else(|| Sight::causal(pass.batch));
        match attention {
            Attention::Packed { enters, leaves } => {
                let packed = self.linear(enters, input, pass);
                let mixed = match pass.cache.as_deref_mut() {
                    None => B::packed_attention(packed, heads, &sight),
                    Some(cache) => {
                        let [queries, keys, values] = thirds(&packed);
                        let (keys, values) = cache.extend(block, pass.batch, keys, values);
                        <B as TransformerOps>::attention(queries, keys, values, &sight, heads, heads)
                    }
                };
                self.linear(leaves, mixed, pass)
            }
            Attention::Grouped {
                queries,
                keys,
                values,
                leaves,
                head_norms,
                ..
            } => {
                let mut queries = self.linear(queries, input.clone(), pass);
                let mut keys = self.linear(keys, input.clone(), pass);
                let values = self.linear(values, input, pass);
                if let Some([of_queries, of_keys]) = head_norms {
                    queries = self.head_norm(of_queries, queries);
                    keys = self.head_norm(of_keys, keys);
                }
                if let Some(Rotation { cosines, sines }) = pass.rotation.clone() {
                    queries = B::rotate(queries, cosines.clone(), sines.clone(), heads);
                    keys = B::rotate(keys, cosines, sines, self.config.key_heads());
                }
                let (keys, values) = match pass.cache.as_deref_mut() {
                    None => (keys, values),
                    Some(cache) => cache.extend(block, pass.batch, keys, values),
                };
                let mixed = <B as TransformerOps>::attention(
                    queries,
                    keys,
                    values,
                    &sight,
                    heads,
                    self.config.key_heads(),
                );
                self.linear(leaves, mixed, pass)
            }
        }
    }

    fn feed(&self, feed: &Feed<B>, input: Tensor<B, 2>, pass: &mut Pass<'_, '_, B>) -> Tensor<B, 2> {
        match feed {
            Feed::Gelu { enters, leaves } => {
                let inner = B::gelu_new(self.linear(enters, input, pass));
                self.linear(leaves, inner, pass)
            }
            Feed::Gated { gate, up, down } => {
                let gate = self.linear(gate, input.clone(), pass);
                let up = self.linear(up, input, pass);
                self.linear(down, B::swiglu(gate, up), pass)
            }
        }
    }

    /// `norm` of each head of `rows` `[n, heads · size]`.
    fn head_norm(&self, norm: &Norm<B>, rows: Tensor<B, 2>) -> Tensor<B, 2> {
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
            Self::Grouped { window, .. } => *window,
        }
    }
}

fn indices<B: Backend>(values: Vec<i32>, device: &B::Device) -> Tensor<B, 1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The three parts of `packed` `[n, 3 · width]`.
fn thirds<B: Backend>(packed: &Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let [rows, columns] = packed.dims();
    let width = columns / 3;
    [0, 1, 2].map(|part| packed.clone().slice([0..rows, part * width..(part + 1) * width]))
}
