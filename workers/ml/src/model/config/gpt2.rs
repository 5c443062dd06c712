//! The shape of a GPT-2 (Radford et al., 2019): learned positions, layer norms, one matrix for queries, keys and
//! values.
//!
//! Rule: see [`super`].

use serde_json::{Map, Value, json};

use super::{ARCHITECTURES, LinearLayout, fields::Fields, rope::LONGEST};
use crate::{failure::Failure, spec::Architecture, tensor_file::Expected};

/// The shape of a GPT-2.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt2Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Numbers per token.
    pub width: usize,
    /// Numbers per token inside the feed-forward layers.
    pub feed_width: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Added to variances by the norms.
    pub epsilon: f64,
    /// Whether the output matrix is the token embedding.
    pub tied: bool,
    /// The token at the beginning of a text, where there is one.
    pub begin_of_text: Option<u32>,
    /// The tokens that end a text.
    pub ends_of_text: Vec<u32>,
}

impl Gpt2Config {
    /// Linear layers of a block, in the order of [`super::ModelConfig::linears`].
    pub(in crate::model) const LINEARS: usize = 4;

    /// The configuration of a new model of `shape` with a tokenizer of `vocab_size` tokens.
    #[must_use]
    pub fn of(shape: &Architecture, vocab_size: usize, end_of_text: Option<u32>) -> Self {
        let width = shape.width as usize;
        Self {
            layers: shape.layers as usize,
            heads: shape.heads as usize,
            width,
            feed_width: 4 * width,
            context: shape.context as usize,
            vocab_size,
            epsilon: 1e-5,
            tied: true,
            begin_of_text: end_of_text,
            ends_of_text: end_of_text.into_iter().collect(),
        }
    }

    /// Reads the fields of a `config.json`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with every variant this engine does not compute and every
    /// number that makes no network.
    pub(super) fn read(json: &Map<String, Value>) -> Result<Self, Failure> {
        let mut fields = Fields::new(json);
        // Other names of the same tanh form.
        fields.only(
            "activation_function",
            &[json!("gelu_new"), json!("gelu_pytorch_tanh"), json!("gelu_fast")],
        );
        fields.only("scale_attn_weights", &[json!(true)]);
        fields.only("scale_attn_by_inverse_layer_idx", &[json!(false)]);
        fields.only("add_cross_attention", &[json!(false)]);
        super::refuse_quantised(&mut fields);
        let width = fields.whole("n_embd", None, 65_536);
        let vocab_size = fields.whole("vocab_size", None, 1 << 24);
        let config = Self {
            layers: fields.whole("n_layer", None, 1024),
            heads: fields.whole("n_head", None, 1024),
            width,
            feed_width: fields.whole("n_inner", Some(4 * width), 1 << 20),
            context: fields.whole("n_positions", None, LONGEST),
            vocab_size,
            epsilon: fields.real("layer_norm_epsilon", 0.0, 1.0).unwrap_or(1e-5),
            tied: fields.flag("tie_word_embeddings", true),
            begin_of_text: fields.tokens("bos_token_id", vocab_size).first().copied(),
            ends_of_text: fields.tokens("eos_token_id", vocab_size),
        };
        if !config.width.is_multiple_of(config.heads) {
            fields.refuse(format!(
                "n_head {} does not divide n_embd {}",
                config.heads, config.width
            ));
        }
        fields.finish("config.json")?;
        Ok(config)
    }

    /// Its `config.json`, which `transformers` reads.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ends = match self.ends_of_text.as_slice() {
            [] => Value::Null,
            [end] => json!(end),
            ends => json!(ends),
        };
        let inner = (self.feed_width != 4 * self.width).then_some(self.feed_width);
        json!({
            "architectures": [ARCHITECTURES[0].name], "model_type": "gpt2", "activation_function": "gelu_new",
            "n_layer": self.layers, "n_head": self.heads, "n_embd": self.width, "n_positions": self.context,
            "n_ctx": self.context, "n_inner": inner, "vocab_size": self.vocab_size,
            "layer_norm_epsilon": self.epsilon, "initializer_range": 0.02,
            "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bos_token_id": self.begin_of_text, "eos_token_id": ends,
            "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false,
            "reorder_and_upcast_attn": false, "tie_word_embeddings": self.tied, "use_cache": true,
            "dtype": "float32",
        })
    }

    /// The matrices of the blocks that compute `x · W + b`.
    pub(super) fn linears(&self) -> Vec<LinearLayout> {
        let (width, feed) = (self.width, self.feed_width);
        let of_block: [_; Self::LINEARS] = [
            ("attn.c_attn", [width, 3 * width]),
            ("attn.c_proj", [width, width]),
            ("mlp.c_fc", [width, feed]),
            ("mlp.c_proj", [feed, width]),
        ];
        (0..self.layers)
            .flat_map(|block| {
                of_block.map(|(name, shape)| LinearLayout {
                    name: format!("h.{block}.{name}"),
                    shape,
                    bias: true,
                })
            })
            .collect()
    }

    /// Every other tensor.
    pub(super) fn others(&self) -> Vec<Expected> {
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
