//! The shape of a model of the Llama family (Touvron et al., arXiv:2307.09288): rotated queries and keys, RMS
//! norms, grouped heads, gated feed-forward layers.
//!
//! Rule: see [`super`]. The members differ in biases, norms of heads and windows only, so they are one shape.

use serde_json::{Map, Value, json};

use super::{
    LinearLayout,
    fields::Fields,
    rope::{LONGEST, Rope, Scaling},
};
use crate::{failure::Failure, tensor_file::Expected};

/// A member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Llama 1 to 3.
    Llama,
    /// Mistral 7B (arXiv:2310.06825): a window over all layers.
    Mistral,
    /// Qwen2 and 2.5 (arXiv:2407.10671): biases of queries, keys and values.
    Qwen2,
    /// Qwen3 (arXiv:2505.09388): norms of the heads' queries and keys.
    Qwen3,
}

/// The shape of a model of the Llama family.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Which member it is.
    pub member: Member,
    /// Transformer blocks.
    pub layers: usize,
    /// Heads of queries of a block.
    pub heads: usize,
    /// Heads of keys and values of a block (grouped-query attention, arXiv:2305.13245); divides `heads`.
    pub key_heads: usize,
    /// Numbers per head; even.
    pub head_size: usize,
    /// Numbers per token.
    pub width: usize,
    /// Numbers per token inside the feed-forward layers.
    pub feed_width: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Added to mean squares by the norms.
    pub epsilon: f64,
    /// Whether the output matrix is the token embedding.
    pub tied: bool,
    /// Whether queries, keys and values have biases.
    pub attention_in_bias: bool,
    /// Whether attention's output has a bias.
    pub attention_out_bias: bool,
    /// Whether the feed-forward layers have biases.
    pub feed_bias: bool,
    /// Of each block how many tokens, itself included, a token sees; `None` is all before it.
    pub windows: Vec<Option<usize>>,
    /// How queries and keys are rotated.
    pub rope: Rope,
    /// The deviation of new weights.
    pub deviation: f64,
    /// The tokens that end a text.
    pub ends_of_text: Vec<u32>,
    /// The `config.json` it was read from.
    pub source: Map<String, Value>,
}

impl LlamaConfig {
    /// Linear layers of a block, in the order of [`super::ModelConfig::linears`].
    pub(in crate::model) const LINEARS: usize = 7;

    /// Reads the fields of a `config.json`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with every variant this engine does not compute and every
    /// number that makes no network.
    pub(super) fn read(member: Member, json: &Map<String, Value>) -> Result<Self, Failure> {
        let mut fields = Fields::new(json);
        fields.only("hidden_act", &[json!("silu"), json!("swish")]);
        fields.only("use_mrope", &[json!(false)]);
        super::refuse_quantised(&mut fields);
        let layers = fields.whole("num_hidden_layers", None, 1024);
        let heads = fields.whole("num_attention_heads", None, 1024);
        let width = fields.whole("hidden_size", None, 65_536);
        let positions = fields.whole("max_position_embeddings", None, LONGEST);
        let vocab_size = fields.whole("vocab_size", None, 1 << 24);
        // Where Hugging Face's class has a number of its own for an absent field, the field is demanded.
        let key_heads = match member {
            Member::Llama => Some(heads),
            _ => fields.names("num_key_value_heads").then_some(heads),
        };
        let key_heads = fields.whole("num_key_value_heads", key_heads, 1024);
        let head_size = match member {
            Member::Qwen3 => 128,
            _ => width / heads,
        };
        let head_size = fields.whole("head_dim", Some(head_size), 4096);
        // What is derived from a number that is missing or wrong says nothing.
        let sound = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_u64)
                .is_some_and(|number| number > 0)
        };
        let (wide, headed) = (sound("hidden_size"), sound("num_attention_heads"));
        if headed && !heads.is_multiple_of(key_heads) {
            fields.refuse(format!(
                "num_key_value_heads {key_heads} does not divide num_attention_heads {heads}"
            ));
        }
        let derived = fields.get("head_dim").is_none();
        if derived && wide && headed && !width.is_multiple_of(heads) {
            fields.refuse(format!(
                "num_attention_heads {heads} does not divide hidden_size {width}"
            ));
        }
        if (!derived || wide && headed) && (head_size == 0 || !head_size.is_multiple_of(2)) {
            fields.refuse(format!(
                "heads have {head_size} numbers, which do not pair for the rotation"
            ));
        }
        let (all, feed_bias) = match member {
            Member::Llama => (
                fields.flag("attention_bias", false),
                fields.flag("mlp_bias", false),
            ),
            Member::Qwen3 => (fields.flag("attention_bias", false), false),
            Member::Mistral | Member::Qwen2 => (false, false),
        };
        let windows = windows(member, &mut fields, layers);
        let rope = Rope::read(&mut fields, positions);
        let config = Self {
            member,
            layers,
            heads,
            key_heads,
            head_size,
            width,
            feed_width: fields.whole("intermediate_size", None, 1 << 20),
            context: match rope.scaling {
                // The one scaling whose file names the length before it.
                Scaling::Dynamic { factor, .. } => (positions as f64 * factor.max(1.0)) as usize,
                _ => positions,
            },
            vocab_size,
            epsilon: fields.real("rms_norm_eps", 0.0, 1.0).unwrap_or(1e-6),
            tied: fields.flag("tie_word_embeddings", false),
            attention_in_bias: all || member == Member::Qwen2,
            attention_out_bias: all,
            feed_bias,
            windows,
            rope,
            deviation: fields.real("initializer_range", 0.0, 1.0).unwrap_or(0.02),
            ends_of_text: fields.tokens("eos_token_id", vocab_size),
            source: json.clone(),
        };
        fields.finish("config.json")?;
        Ok(config)
    }

    /// Whether queries and keys of each head are normalised.
    #[must_use]
    pub fn has_head_norms(&self) -> bool {
        self.member == Member::Qwen3
    }

    /// The matrices of the blocks that compute `x · W (+ b)`.
    pub(super) fn linears(&self) -> Vec<LinearLayout> {
        let (width, feed) = (self.width, self.feed_width);
        let (queries, keys) = (self.heads * self.head_size, self.key_heads * self.head_size);
        let (enters, leaves) = (self.attention_in_bias, self.attention_out_bias);
        let of_block: [_; Self::LINEARS] = [
            ("self_attn.q_proj", [width, queries], enters),
            ("self_attn.k_proj", [width, keys], enters),
            ("self_attn.v_proj", [width, keys], enters),
            ("self_attn.o_proj", [queries, width], leaves),
            ("mlp.gate_proj", [width, feed], self.feed_bias),
            ("mlp.up_proj", [width, feed], self.feed_bias),
            ("mlp.down_proj", [feed, width], self.feed_bias),
        ];
        (0..self.layers)
            .flat_map(|block| {
                of_block.map(|(name, shape, bias)| LinearLayout {
                    name: format!("layers.{block}.{name}"),
                    shape,
                    bias,
                })
            })
            .collect()
    }

    /// Every other tensor.
    pub(super) fn others(&self) -> Vec<Expected> {
        let width = self.width;
        let mut tensors = vec![
            ("embed_tokens.weight".to_owned(), [self.vocab_size, width]),
            ("norm.weight".to_owned(), [1, width]),
        ];
        for block in 0..self.layers {
            let mut add =
                |name: &str, size| tensors.push((format!("layers.{block}.{name}.weight"), [1, size]));
            add("input_layernorm", width);
            add("post_attention_layernorm", width);
            if self.has_head_norms() {
                add("self_attn.q_norm", self.head_size);
                add("self_attn.k_norm", self.head_size);
            }
        }
        tensors
    }
}

/// The windows of the layers, by the rules of each member.
fn windows(member: Member, fields: &mut Fields<'_>, layers: usize) -> Vec<Option<usize>> {
    match member {
        Member::Llama => vec![None; layers],
        Member::Mistral => vec![window(fields); layers],
        Member::Qwen2 | Member::Qwen3 => {
            let used = fields.flag("use_sliding_window", false);
            let window = if used { window(fields) } else { None };
            match fields.get("layer_types") {
                Some(types) => listed(types, fields, window, layers),
                None => {
                    let full = match fields.get("max_window_layers").and_then(Value::as_u64) {
                        Some(full) => full as usize,
                        None => 28,
                    };
                    (0..layers)
                        .map(|layer| window.filter(|_| layer >= full))
                        .collect()
                }
            }
        }
    }
}

/// `sliding_window`: absent it is what the classes of Hugging Face have, `null` is none.
fn window(fields: &mut Fields<'_>) -> Option<usize> {
    if fields.names("sliding_window") {
        fields.optional("sliding_window", LONGEST)
    } else {
        Some(4096)
    }
}

/// The windows that `layer_types` gives.
fn listed(
    types: &Value,
    fields: &mut Fields<'_>,
    window: Option<usize>,
    layers: usize,
) -> Vec<Option<usize>> {
    let names: Vec<&str> = types
        .as_array()
        .map(|types| types.iter().map(|kind| kind.as_str().unwrap_or("")).collect())
        .unwrap_or_default();
    let known = |name: &&str| ["full_attention", "sliding_attention"].contains(name);
    if names.len() != layers || !names.iter().all(known) {
        fields.refuse(format!(
            "layer_types must name full_attention or sliding_attention for each of {layers} layers"
        ));
        return vec![None; layers];
    }
    if window.is_none() && names.contains(&"sliding_attention") {
        fields.refuse("layer_types has sliding_attention but no sliding_window is in use");
    }
    names
        .iter()
        .map(|name| window.filter(|_| *name == "sliding_attention"))
        .collect()
}
