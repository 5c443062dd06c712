//! Configuration of the Llama family (Touvron et al., arXiv:2307.09288): rotary positions, RMS norms, grouped-query
//! attention, gated feed-forward layers.
//!
//! Rule: see [`super`]. The variants differ in biases, norms of heads and sliding windows only, so they share one
//! configuration.

use serde_json::{Map, Value, json};

use super::{
    fields::JsonFields,
    linear_spec::LinearSpec,
    rope::{MAX_CONTEXT, Rope, Scaling},
};
use crate::{failure::Failure, tensor_file::TensorSpec};

/// A variant of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlamaVariant {
    /// Llama 1 to 3.
    Llama,
    /// Mistral 7B (arXiv:2310.06825): sliding windows in all layers.
    Mistral,
    /// Qwen2 and 2.5 (arXiv:2407.10671): biases of queries, keys and values.
    Qwen2,
    /// Qwen3 (arXiv:2505.09388): norms of each head's queries and keys.
    Qwen3,
}

/// Configuration of a model of the Llama family.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// The variant.
    pub variant: LlamaVariant,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block (grouped-query attention, arXiv:2305.13245); divides `heads`.
    pub key_heads: usize,
    /// Width of a head; even.
    pub head_size: usize,
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
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output of attention has a bias.
    pub attention_output_bias: bool,
    /// Whether the feed-forward layers have biases.
    pub feed_forward_bias: bool,
    /// Sliding window of each block in tokens, including the token itself; `None` attends to everything before it.
    pub windows: Vec<Option<usize>>,
    /// The rotary positions.
    pub rope: Rope,
    /// Standard deviation of new weights.
    pub initializer_range: f64,
    /// The tokens that end a text.
    pub eos_tokens: Vec<u32>,
    /// The `config.json` it was read from.
    pub source: Map<String, Value>,
}

impl LlamaConfig {
    /// Linear layers per block, in the order of [`super::ModelConfig::linear_layers`].
    pub(crate) const LINEARS_PER_BLOCK: usize = 7;

    /// Reads the fields of a `config.json`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with every variant that is not supported and every value that
    /// is out of range.
    pub(super) fn read(variant: LlamaVariant, json: &Map<String, Value>) -> Result<Self, Failure> {
        let mut fields = JsonFields::new(json);
        fields.require_supported("hidden_act", &[json!("silu"), json!("swish")]);
        fields.require_supported("use_mrope", &[json!(false)]);
        fields.reject_quantization();
        let layers = fields.integer("num_hidden_layers", None, 1024);
        let positions = fields.integer("max_position_embeddings", None, MAX_CONTEXT);
        let vocab_size = fields.integer("vocab_size", None, 1 << 24);
        let heads = HeadSizes::read(variant, &mut fields);
        let (attention_bias, feed_forward_bias) = biases(variant, &mut fields);
        let windows = windows(variant, &mut fields, layers);
        let rope = Rope::read(&mut fields, positions);
        let config = Self {
            variant,
            layers,
            heads: heads.queries,
            key_heads: heads.keys,
            head_size: heads.size,
            width: heads.width,
            feed_forward_width: fields.integer("intermediate_size", None, 1 << 20),
            context: match rope.scaling {
                // The only scaling whose `max_position_embeddings` is the length before scaling.
                Scaling::Dynamic { factor, .. } => (positions as f64 * factor.max(1.0)) as usize,
                _ => positions,
            },
            vocab_size,
            epsilon: fields.float("rms_norm_eps", 0.0, 1.0).unwrap_or(1e-6),
            tied_embeddings: fields.boolean("tie_word_embeddings", false),
            qkv_bias: attention_bias || variant == LlamaVariant::Qwen2,
            attention_output_bias: attention_bias,
            feed_forward_bias,
            windows,
            rope,
            initializer_range: fields.float("initializer_range", 0.0, 1.0).unwrap_or(0.02),
            eos_tokens: fields.token_ids("eos_token_id", vocab_size),
            source: json.clone(),
        };
        fields.finish("config.json")?;
        Ok(config)
    }

    /// Whether queries and keys of each head are normalised.
    #[must_use]
    pub fn has_qk_norms(&self) -> bool {
        self.variant == LlamaVariant::Qwen3
    }

    /// The linear layers of the blocks.
    pub(super) fn linear_layers(&self) -> Vec<LinearSpec> {
        let (width, feed) = (self.width, self.feed_forward_width);
        let (queries, keys) = (self.heads * self.head_size, self.key_heads * self.head_size);
        let (qkv_bias, output_bias) = (self.qkv_bias, self.attention_output_bias);
        let of_block: [_; Self::LINEARS_PER_BLOCK] = [
            ("self_attn.q_proj", [width, queries], qkv_bias),
            ("self_attn.k_proj", [width, keys], qkv_bias),
            ("self_attn.v_proj", [width, keys], qkv_bias),
            ("self_attn.o_proj", [queries, width], output_bias),
            ("mlp.gate_proj", [width, feed], self.feed_forward_bias),
            ("mlp.up_proj", [width, feed], self.feed_forward_bias),
            ("mlp.down_proj", [feed, width], self.feed_forward_bias),
        ];
        (0..self.layers)
            .flat_map(|block| {
                of_block.map(|(name, shape, bias)| LinearSpec {
                    name: format!("layers.{block}.{name}"),
                    shape,
                    bias,
                })
            })
            .collect()
    }

    /// All tensors that do not belong to linear layers.
    pub(super) fn other_tensors(&self) -> Vec<TensorSpec> {
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
            if self.has_qk_norms() {
                add("self_attn.q_norm", self.head_size);
                add("self_attn.k_norm", self.head_size);
            }
        }
        tensors
    }
}

/// Number and size of attention heads.
struct HeadSizes {
    queries: usize,
    keys: usize,
    size: usize,
    width: usize,
}

impl HeadSizes {
    fn read(variant: LlamaVariant, fields: &mut JsonFields<'_>) -> Self {
        let queries = fields.integer("num_attention_heads", None, 1024);
        let width = fields.integer("hidden_size", None, 65_536);
        // The field is required where the default of Hugging Face's class is a constant of its own.
        let default_keys = match variant {
            LlamaVariant::Llama => Some(queries),
            _ => fields.contains("num_key_value_heads").then_some(queries),
        };
        let default_size = match variant {
            LlamaVariant::Qwen3 => 128,
            _ => width / queries,
        };
        let sizes = Self {
            queries,
            keys: fields.integer("num_key_value_heads", default_keys, 1024),
            size: fields.integer("head_dim", Some(default_size), 4096),
            width,
        };
        sizes.check(fields);
        sizes
    }

    /// Rejects sizes that do not divide. Fields that are missing or invalid themselves are not reported again.
    fn check(&self, fields: &mut JsonFields<'_>) {
        let Self {
            queries,
            keys,
            size,
            width,
        } = *self;
        let is_valid = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_u64)
                .is_some_and(|number| number > 0)
        };
        let (has_width, has_heads) = (is_valid("hidden_size"), is_valid("num_attention_heads"));
        let is_derived = fields.get("head_dim").is_none();
        if has_heads && !queries.is_multiple_of(keys) {
            fields.reject(format!(
                "num_key_value_heads {keys} does not divide num_attention_heads {queries}"
            ));
        }
        if is_derived && has_width && has_heads && !width.is_multiple_of(queries) {
            fields.reject(format!(
                "num_attention_heads {queries} does not divide hidden_size {width}"
            ));
        }
        if (!is_derived || has_width && has_heads) && (size == 0 || !size.is_multiple_of(2)) {
            fields.reject(format!(
                "the head size {size} is odd; rotary positions need an even one"
            ));
        }
    }
}

/// Whether the linear layers of attention and of the feed-forward layers have biases.
fn biases(variant: LlamaVariant, fields: &mut JsonFields<'_>) -> (bool, bool) {
    match variant {
        LlamaVariant::Llama => (
            fields.boolean("attention_bias", false),
            fields.boolean("mlp_bias", false),
        ),
        LlamaVariant::Qwen3 => (fields.boolean("attention_bias", false), false),
        LlamaVariant::Mistral | LlamaVariant::Qwen2 => (false, false),
    }
}

/// The sliding window of each layer, which the variants configure differently.
fn windows(variant: LlamaVariant, fields: &mut JsonFields<'_>, layers: usize) -> Vec<Option<usize>> {
    match variant {
        LlamaVariant::Llama => vec![None; layers],
        LlamaVariant::Mistral => vec![window(fields); layers],
        LlamaVariant::Qwen2 | LlamaVariant::Qwen3 => {
            let used = fields.boolean("use_sliding_window", false);
            let window = if used { window(fields) } else { None };
            match fields.get("layer_types") {
                Some(types) => windows_from_layer_types(types, fields, window, layers),
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

/// `sliding_window`: the default of Hugging Face's classes when absent, none when `null`.
fn window(fields: &mut JsonFields<'_>) -> Option<usize> {
    if fields.contains("sliding_window") {
        fields.optional_integer("sliding_window", MAX_CONTEXT)
    } else {
        Some(4096)
    }
}

/// The sliding windows according to `layer_types`.
fn windows_from_layer_types(
    types: &Value,
    fields: &mut JsonFields<'_>,
    window: Option<usize>,
    layers: usize,
) -> Vec<Option<usize>> {
    let names: Vec<&str> = types
        .as_array()
        .map(|types| types.iter().map(|kind| kind.as_str().unwrap_or("")).collect())
        .unwrap_or_default();
    let known = |name: &&str| ["full_attention", "sliding_attention"].contains(name);
    if names.len() != layers || !names.iter().all(known) {
        fields.reject(format!(
            "layer_types must name full_attention or sliding_attention for each of {layers} layers"
        ));
        return vec![None; layers];
    }
    if window.is_none() && names.contains(&"sliding_attention") {
        fields.reject("layer_types has sliding_attention but no sliding_window is in use");
    }
    names
        .iter()
        .map(|name| window.filter(|_| *name == "sliding_attention"))
        .collect()
}
