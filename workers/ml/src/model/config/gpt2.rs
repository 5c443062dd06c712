//! Configuration of GPT-2 (Radford et al., 2019): learned positions, layer norms, one matrix for queries, keys and
//! values.
//!
//! Rule: see [`super`].

use serde_json::{Map, Value, json};

use super::{fields::JsonFields, linear_spec::LinearSpec, rope::MAX_CONTEXT};
use crate::{failure::Failure, spec::Architecture, tensor_file::TensorSpec};

/// Its class in `transformers`.
pub(super) const ARCHITECTURE: &str = "GPT2LMHeadModel";

/// Configuration of a GPT-2.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt2Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Width of the hidden states.
    pub width: usize,
    /// Width of the feed-forward layers.
    pub feed_forward_width: usize,
    /// Context length in tokens.
    pub context: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Epsilon of the norms.
    pub epsilon: f64,
    /// Whether the output matrix is the token embedding.
    pub tied_embeddings: bool,
    /// The token that begins a text, where there is one.
    pub bos_token: Option<u32>,
    /// The tokens that end a text.
    pub eos_tokens: Vec<u32>,
}

impl Gpt2Config {
    /// Linear layers per block, in the order of [`super::ModelConfig::linear_layers`].
    pub(crate) const LINEARS_PER_BLOCK: usize = 4;

    /// The configuration of a new model of architecture `shape`, for a tokenizer of `vocab_size` tokens.
    #[must_use]
    pub fn of(shape: &Architecture, vocab_size: usize, eos_token: Option<u32>) -> Self {
        let width = shape.width as usize;
        Self {
            layers: shape.layers as usize,
            heads: shape.heads as usize,
            width,
            feed_forward_width: 4 * width,
            context: shape.context as usize,
            vocab_size,
            epsilon: 1e-5,
            tied_embeddings: true,
            bos_token: eos_token,
            eos_tokens: eos_token.into_iter().collect(),
        }
    }

    /// Reads the fields of a `config.json`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with every variant that is not supported and every value
    /// that is out of range.
    pub(super) fn read(json: &Map<String, Value>) -> Result<Self, Failure> {
        let mut fields = JsonFields::new(json);
        // Other names of the same function.
        fields.require_supported(
            "activation_function",
            &[json!("gelu_new"), json!("gelu_pytorch_tanh"), json!("gelu_fast")],
        );
        fields.require_supported("scale_attn_weights", &[json!(true)]);
        fields.require_supported("scale_attn_by_inverse_layer_idx", &[json!(false)]);
        fields.require_supported("add_cross_attention", &[json!(false)]);
        fields.reject_quantization();
        let width = fields.integer("n_embd", None, 65_536);
        let vocab_size = fields.integer("vocab_size", None, 1 << 24);
        let config = Self {
            layers: fields.integer("n_layer", None, 1024),
            heads: fields.integer("n_head", None, 1024),
            width,
            feed_forward_width: fields.integer("n_inner", Some(4 * width), 1 << 20),
            context: fields.integer("n_positions", None, MAX_CONTEXT),
            vocab_size,
            epsilon: fields.float("layer_norm_epsilon", 0.0, 1.0).unwrap_or(1e-5),
            tied_embeddings: fields.boolean("tie_word_embeddings", true),
            bos_token: fields.token_ids("bos_token_id", vocab_size).first().copied(),
            eos_tokens: fields.token_ids("eos_token_id", vocab_size),
        };
        if !config.width.is_multiple_of(config.heads) {
            fields.reject(format!(
                "n_head {} does not divide n_embd {}",
                config.heads, config.width
            ));
        }
        fields.finish("config.json")?;
        Ok(config)
    }

    /// Its `config.json`, which `transformers` can read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ends = match self.eos_tokens.as_slice() {
            [] => Value::Null,
            [end] => json!(end),
            ends => json!(ends),
        };
        let inner = (self.feed_forward_width != 4 * self.width).then_some(self.feed_forward_width);
        json!({
            "architectures": [ARCHITECTURE], "model_type": "gpt2", "activation_function": "gelu_new",
            "n_layer": self.layers, "n_head": self.heads, "n_embd": self.width, "n_positions": self.context,
            "n_ctx": self.context, "n_inner": inner, "vocab_size": self.vocab_size,
            "layer_norm_epsilon": self.epsilon, "initializer_range": 0.02,
            "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bos_token_id": self.bos_token, "eos_token_id": ends,
            "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false,
            "reorder_and_upcast_attn": false, "tie_word_embeddings": self.tied_embeddings, "use_cache": true,
            "dtype": "float32",
        })
    }

    /// The linear layers of the blocks.
    pub(super) fn linear_layers(&self) -> Vec<LinearSpec> {
        let (width, feed) = (self.width, self.feed_forward_width);
        let of_block: [_; Self::LINEARS_PER_BLOCK] = [
            ("attn.c_attn", [width, 3 * width]),
            ("attn.c_proj", [width, width]),
            ("mlp.c_fc", [width, feed]),
            ("mlp.c_proj", [feed, width]),
        ];
        (0..self.layers)
            .flat_map(|block| {
                of_block.map(|(name, shape)| LinearSpec {
                    name: format!("h.{block}.{name}"),
                    shape,
                    bias: true,
                })
            })
            .collect()
    }

    /// All tensors that do not belong to linear layers.
    pub(super) fn other_tensors(&self) -> Vec<TensorSpec> {
        let width = self.width;
        let mut tensors = vec![
            ("wte.weight".to_owned(), [self.vocab_size, width]),
            ("wpe.weight".to_owned(), [self.context, width]),
            ("ln_f.weight".to_owned(), [1, width]),
            ("ln_f.bias".to_owned(), [1, width]),
        ];
        for block in 0..self.layers {
            for norm in ["ln_1", "ln_2"] {
                tensors.push((format!("h.{block}.{norm}.weight"), [1, width]));
                tensors.push((format!("h.{block}.{norm}.bias"), [1, width]));
            }
        }
        tensors
    }
}
