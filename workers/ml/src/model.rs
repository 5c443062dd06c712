//! GPT-2: the network (Radford et al., 2019), as Hugging Face's `GPT2LMHeadModel` computes it.
//!
//! Rule: a network is a view of a [`ParameterSet`]; it owns no state and is rebuilt for each graph, so that
//! frozen, trained and inner-backend networks are one type.

pub mod config;
pub mod folder;
pub mod ops;

use burn::tensor::{Int, Tensor, backend::Backend};
use config::Gpt2Config;
use ops::{Orientation, Sight, TransformerOps};

use crate::{
    failure::Failure,
    lora::{AdapterPass, Slot},
    parameters::ParameterSet,
};

/// `y = x · weight + bias`.
#[derive(Clone, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`, the layout of Hugging Face's `Conv1D`.
    pub weight: Tensor<B, 2>,
    /// `[1, out]`.
    pub bias: Tensor<B, 2>,
}

/// Layer normalisation.
#[derive(Clone, Debug)]
pub struct Norm<B: Backend> {
    /// `[1, width]`.
    pub gain: Tensor<B, 2>,
    /// `[1, width]`.
    pub bias: Tensor<B, 2>,
}

/// One transformer block (pre-norm).
#[derive(Clone, Debug)]
pub struct Block<B: Backend> {
    attention_norm: Norm<B>,
    attention_in: Linear<B>,
    attention_out: Linear<B>,
    feed_norm: Norm<B>,
    feed_in: Linear<B>,
    feed_out: Linear<B>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Gpt2<B: Backend> {
    config: Gpt2Config,
    token_embedding: Tensor<B, 2>,
    position_embedding: Tensor<B, 2>,
    blocks: Vec<Block<B>>,
    final_norm: Norm<B>,
}

/// Keys and values of the tokens seen so far, per block `[seen, width]`.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    blocks: Vec<[Tensor<B, 2>; 2]>,
}

impl<B: Backend> Default for Cache<B> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<B: Backend> Cache<B> {
    /// How many tokens it holds.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen_by(0)
    }

    /// How many tokens the entry of `block` holds: during a pass, later blocks are behind the first.
    fn seen_by(&self, block: usize) -> usize {
        self.blocks.get(block).map_or(0, |[keys, _]| keys.dims()[0])
    }

    /// Appends to the entry of `block` and returns all keys and values.
    fn extend(&mut self, block: usize, keys: Tensor<B, 2>, values: Tensor<B, 2>) -> [Tensor<B, 2>; 2] {
        let entry = match self.blocks.get(block).cloned() {
            Some([old_keys, old_values]) => [
                Tensor::cat(vec![old_keys, keys], 0),
                Tensor::cat(vec![old_values, values], 0),
            ],
            None => [keys, values],
        };
        if block < self.blocks.len() {
            self.blocks[block] = entry.clone();
        } else {
            self.blocks.push(entry.clone());
        }
        entry
    }
}

impl<B: TransformerOps> Gpt2<B> {
    /// The network of `config` over `parameters`, whose tensors are shared.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn new(config: &Gpt2Config, parameters: &ParameterSet<B>) -> Result<Self, Failure> {
        let norm = |name: &str| -> Result<Norm<B>, Failure> {
            Ok(Norm {
                gain: parameters.get(&format!("{name}.weight"))?,
                bias: parameters.get(&format!("{name}.bias"))?,
            })
        };
        let linear = |name: &str| -> Result<Linear<B>, Failure> {
            let weight = parameters.get(&format!("{name}.weight"))?;
            Ok(Linear {
                weight,
                bias: parameters.get(&format!("{name}.bias"))?,
            })
        };
        let block = |index: usize| -> Result<Block<B>, Failure> {
            let at = |name: &str| format!("h.{index}.{name}");
            Ok(Block {
                attention_norm: norm(&at("ln_1"))?,
                attention_in: linear(&at("attn.c_attn"))?,
                attention_out: linear(&at("attn.c_proj"))?,
                feed_norm: norm(&at("ln_2"))?,
                feed_in: linear(&at("mlp.c_fc"))?,
                feed_out: linear(&at("mlp.c_proj"))?,
            })
        };
        Ok(Self {
            config: config.clone(),
            token_embedding: parameters.get("wte.weight")?,
            position_embedding: parameters.get("wpe.weight")?,
            blocks: (0..config.layers).map(block).collect::<Result<_, _>>()?,
            final_norm: norm("ln_f")?,
        })
    }

    /// Its shape.
    #[must_use]
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The output matrix, which is the token embedding: `[vocab, width]`.
    #[must_use]
    pub fn head(&self) -> Tensor<B, 2> {
        self.token_embedding.clone()
    }

    /// What the network makes of `ids` `[batch, length]` before the output matrix: `[batch · length, width]`.
    ///
    /// With a `cache` (batch 1) the tokens follow those of the cache, which then holds them too. The caller
    /// keeps cache and `length` together within the context.
    pub fn hidden(
        &self,
        ids: Tensor<B, 2, Int>,
        mut adapter: Option<&mut AdapterPass<'_, B>>,
        mut cache: Option<&mut Cache<B>>,
    ) -> Tensor<B, 2> {
        let [batch, length] = ids.dims();
        let (width, seen) = (self.config.width, cache.as_ref().map_or(0, |cache| cache.seen()));
        let tokens = self
            .token_embedding
            .clone()
            .select(0, ids.reshape([batch * length]));
        let positions = self
            .position_embedding
            .clone()
            .slice([seen..seen + length, 0..width])
            .unsqueeze::<3>();
        let mut stream =
            (tokens.reshape([batch, length, width]) + positions).reshape([batch * length, width]);
        for (index, block) in self.blocks.iter().enumerate() {
            let mut linear = |slot: Slot, layer: &Linear<B>, input: Tensor<B, 2>| {
                let update = adapter
                    .as_deref_mut()
                    .and_then(|adapter| adapter.update(index, slot));
                let (weight, bias) = (layer.weight.clone(), layer.bias.clone());
                <B as TransformerOps>::linear(input, weight, Orientation::InOut, Some(bias), update)
            };
            let input = self.norm(&block.attention_norm, stream.clone());
            let packed = linear(Slot::AttentionIn, &block.attention_in, input);
            let mixed = match cache.as_deref_mut() {
                None => B::packed_attention(packed, self.config.heads, &Sight::causal(batch)),
                Some(cache) => self.cached_attention(&packed, index, cache),
            };
            stream = stream + linear(Slot::AttentionOut, &block.attention_out, mixed);
            let input = self.norm(&block.feed_norm, stream.clone());
            let inner = B::gelu_new(linear(Slot::FeedIn, &block.feed_in, input));
            stream = stream + linear(Slot::FeedOut, &block.feed_out, inner);
        }
        self.norm(&self.final_norm, stream)
    }

    /// Scores of all tokens: `hidden` `[n, width]` → `[n, vocab]`.
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        hidden.matmul(self.head().transpose())
    }

    fn norm(&self, norm: &Norm<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
        B::layer_norm_rows(input, norm.gain.clone(), norm.bias.clone(), self.config.epsilon)
    }

    fn cached_attention(&self, packed: &Tensor<B, 2>, block: usize, cache: &mut Cache<B>) -> Tensor<B, 2> {
        let (width, heads) = (self.config.width, self.config.heads);
        let [queries, keys, values] = [0, 1, 2].map(|part| packed.clone().narrow(1, part * width, width));
        let [keys, values] = cache.extend(block, keys, values);
        <B as TransformerOps>::attention(queries, keys, values, &Sight::causal(1), heads, heads)
    }
}
