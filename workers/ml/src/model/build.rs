//! Construction of networks from named tensors.
//!
//! Rule: the names are those of [`ModelConfig::tensors`]; tensors that [`super::folder`] has checked are always
//! found.

use std::sync::Arc;

use burn::tensor::{Tensor, backend::Backend};

use super::{
    Attention, Block, CausalModel, FeedForward, GroupedAttention, Linear, Norm, Positions,
    config::{Family, Gpt2Config, HEAD, LlamaConfig, ModelConfig},
    ops::{Orientation, TransformerOps},
};
use crate::{failure::Failure, parameters::ParameterSet};

/// Tensors by name; some are replaced.
struct Source<'a, B: Backend> {
    replaced: Option<&'a ParameterSet<B>>,
    tensors: &'a ParameterSet<B>,
}

impl<B: Backend> Source<'_, B> {
    fn get(&self, name: &str) -> Result<Tensor<B, 2>, Failure> {
        match self.replaced.and_then(|replaced| replaced.find(name)) {
            Some(tensor) => Ok(tensor),
            None => self.tensors.get(name),
        }
    }

    /// The layer `name`, with index `layer` in [`ModelConfig::linear_layers`].
    fn linear(&self, name: &str, layer: usize, bias: bool) -> Result<Linear<B>, Failure> {
        Ok(Linear {
            weight: self.get(&format!("{name}.weight"))?,
            bias: if bias {
                Some(self.get(&format!("{name}.bias"))?)
            } else {
                None
            },
            layer,
        })
    }

    fn layer_norm(&self, name: &str) -> Result<Norm<B>, Failure> {
        Ok(Norm::Layer {
            gain: self.get(&format!("{name}.weight"))?,
            bias: self.get(&format!("{name}.bias"))?,
        })
    }

    fn rms_norm(&self, name: &str) -> Result<Norm<B>, Failure> {
        Ok(Norm::Rms {
            gain: self.get(&format!("{name}.weight"))?,
        })
    }
}

impl<B: TransformerOps> CausalModel<B> {
    /// The network of `config` over `parameters`, whose tensors are shared.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn new(config: &ModelConfig, parameters: &ParameterSet<B>) -> Result<Self, Failure> {
        Self::of(config, parameters, None)
    }

    /// The network of `config` over `base`, with the tensors in `replaced` instead of those of the same name.
    ///
    /// Replacing a token embedding does not change a tied output matrix, and vice versa, as with PEFT's
    /// `modules_to_save`.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn with_replaced(
        config: &ModelConfig,
        base: &ParameterSet<B>,
        replaced: &ParameterSet<B>,
    ) -> Result<Self, Failure> {
        Self::of(config, base, Some(replaced))
    }

    fn of(
        config: &ModelConfig,
        tensors: &ParameterSet<B>,
        replaced: Option<&ParameterSet<B>>,
    ) -> Result<Self, Failure> {
        let source = Source { replaced, tensors };
        let tied =
            config.has_tied_embeddings() && replaced.and_then(|replaced| replaced.find(HEAD)).is_none();
        let head = if tied {
            tensors.get(config.embedding())?
        } else {
            source.get(HEAD)?
        };
        let (positions, final_norm, epsilon) = match config {
            ModelConfig::Gpt2(gpt2) => (
                Positions::Learned(source.get("wpe.weight")?),
                source.layer_norm("ln_f")?,
                gpt2.epsilon,
            ),
            ModelConfig::Llama(llama) => (
                Positions::Rotary(llama.rope.clone()),
                source.rms_norm("norm")?,
                llama.epsilon,
            ),
        };
        let block = |index: usize| match config {
            ModelConfig::Gpt2(_) => gpt2_block(&source, index),
            ModelConfig::Llama(llama) => llama_block(&source, llama, index),
        };
        Ok(Self {
            epsilon,
            orientation: match config.family() {
                Family::Gpt2 => Orientation::InOut,
                Family::Llama => Orientation::OutIn,
            },
            embedding: source.get(config.embedding())?,
            positions,
            blocks: (0..config.layers()).map(block).collect::<Result<_, _>>()?,
            final_norm,
            head,
            config: Arc::new(config.clone()),
        })
    }
}

fn gpt2_block<B: Backend>(source: &Source<'_, B>, index: usize) -> Result<Block<B>, Failure> {
    let layer = index * Gpt2Config::LINEARS_PER_BLOCK;
    let at = |name: &str| format!("h.{index}.{name}");
    Ok(Block {
        attention_norm: source.layer_norm(&at("ln_1"))?,
        attention: Attention::Packed {
            input_projection: source.linear(&at("attn.c_attn"), layer, true)?,
            output_projection: source.linear(&at("attn.c_proj"), layer + 1, true)?,
        },
        feed_forward_norm: source.layer_norm(&at("ln_2"))?,
        feed_forward: FeedForward::Gelu {
            input_projection: source.linear(&at("mlp.c_fc"), layer + 2, true)?,
            output_projection: source.linear(&at("mlp.c_proj"), layer + 3, true)?,
        },
    })
}

fn llama_block<B: Backend>(
    source: &Source<'_, B>,
    config: &LlamaConfig,
    index: usize,
) -> Result<Block<B>, Failure> {
    let layer = index * LlamaConfig::LINEARS_PER_BLOCK;
    let at = |name: &str| format!("layers.{index}.{name}");
    let input_projection = |name: &str, offset| source.linear(&at(name), layer + offset, config.qkv_bias);
    let feeds = |name: &str, offset| source.linear(&at(name), layer + offset, config.feed_forward_bias);
    Ok(Block {
        attention_norm: source.rms_norm(&at("input_layernorm"))?,
        attention: Attention::Grouped(Box::new(GroupedAttention {
            queries: input_projection("self_attn.q_proj", 0)?,
            keys: input_projection("self_attn.k_proj", 1)?,
            values: input_projection("self_attn.v_proj", 2)?,
            output_projection: source.linear(
                &at("self_attn.o_proj"),
                layer + 3,
                config.attention_output_bias,
            )?,
            qk_norms: if config.has_qk_norms() {
                let norm = |name: &str| source.rms_norm(&at(name));
                Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?])
            } else {
                None
            },
            window: config.windows.get(index).copied().flatten(),
        })),
        feed_forward_norm: source.rms_norm(&at("post_attention_layernorm"))?,
        feed_forward: FeedForward::Gated {
            gate: feeds("mlp.gate_proj", 4)?,
            up: feeds("mlp.up_proj", 5)?,
            down: feeds("mlp.down_proj", 6)?,
        },
    })
}
