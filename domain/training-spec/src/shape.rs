//! The shape of a language model, as far as its size is concerned.
//!
//! One rule: it is what the order or a `config.json` says, never what files weigh; a shape that this build does
//! not know is no shape, and what depends on it is unknown.

mod adapter;

pub use adapter::{is_saved, is_targeted};
use serde_json::Value;

use super::Architecture;

/// The layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// GPT-2: learned positions, biases, one feed-forward matrix in and one out, tied head.
    Gpt2,
    /// Llama and its kin (Mistral, Qwen2, Qwen3): no positions, a gated feed-forward layer.
    Llama,
}

/// Which linear layers have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Those that make queries, keys and values.
    pub queries_keys_values: bool,
    /// The one that leaves attention.
    pub attention_output: bool,
    /// Those of the feed-forward layer.
    pub feed_forward: bool,
}

impl Biases {
    /// All of them.
    pub const ALL: Self = Self {
        queries_keys_values: true,
        attention_output: true,
        feed_forward: true,
    };
}

/// The size of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The layers of a block.
    pub family: Family,
    /// Blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Width of all queries of a token.
    pub queries: u64,
    /// Width of all keys of a token; as wide for values.
    pub keys: u64,
    /// Which linear layers have biases.
    pub biases: Biases,
    /// Numbers in the norm of queries, and in that of keys, of a head; 0 where there is none.
    pub head_norm: u64,
    /// Width inside the feed-forward layer.
    pub inner: u64,
    /// Positions that the model can see, in tokens.
    pub context: u64,
    /// Tokens it knows.
    pub vocabulary: u64,
    /// Whether the output layer is the embedding.
    pub tied: bool,
}

/// A linear layer of a block: its name there, its inputs and outputs, and whether it has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Its name in the block.
    pub name: &'static str,
    /// Numbers that go in.
    pub input: u64,
    /// Numbers that come out.
    pub output: u64,
    /// Whether it has a bias.
    pub bias: bool,
}

/// An embedding, norm or head.
#[derive(Clone, Copy, Debug)]
struct Module {
    name: &'static str,
    /// Whether each block has one.
    in_blocks: bool,
    weight: u64,
    bias: u64,
}

impl From<&Architecture> for Shape {
    fn from(shape: &Architecture) -> Self {
        let width = u64::from(shape.width);
        Self {
            family: Family::Gpt2,
            layers: shape.layers.into(),
            width,
            queries: width,
            keys: width,
            biases: Biases::ALL,
            head_norm: 0,
            inner: 4 * width,
            context: shape.context.into(),
            vocabulary: shape.vocabulary.into(),
            tied: true,
        }
    }
}

/// Largest numbers that fields of a `config.json` may have here, as in the training engine: sizes made of them do
/// not overflow. Blocks and heads; numbers of a head; the residual stream; inside the feed-forward layer; tokens.
const MANY: u64 = 1 << 10;
const HEAD: u64 = 1 << 12;
const WIDE: u64 = 1 << 16;
const INNER: u64 = 1 << 20;
const TOKENS: u64 = 1 << 24;

/// The number `name` of a `config.json`, from 1 to `most`.
fn number(config: &Value, name: &str, most: u64) -> Option<u64> {
    config[name].as_u64().filter(|value| (1..=most).contains(value))
}

/// Positions of a Llama. Dynamic scaling is the only one that `max_position_embeddings` does not have in it already.
fn context(config: &Value) -> Option<u64> {
    let positions = number(config, "max_position_embeddings", TOKENS)?;
    let scaling = ["rope_scaling", "rope_parameters"].map(|name| &config[name]);
    let scaling = scaling.into_iter().find(|scaling| scaling.is_object());
    let is_dynamic = |scaling: &&Value| scaling["rope_type"] == "dynamic" || scaling["type"] == "dynamic";
    let factor = scaling
        .filter(is_dynamic)
        .and_then(|scaling| scaling["factor"].as_f64());
    Some((positions as f64 * factor.unwrap_or(1.0).max(1.0)) as u64)
}

impl Shape {
    /// What a `config.json` in the manner of Hugging Face says; `None` when it is of another family, or numbers
    /// are missing or absurd.
    #[must_use]
    pub fn of_config(config: &Value) -> Option<Self> {
        match config["model_type"].as_str()? {
            "gpt2" => Self::of_gpt2(config),
            kind @ ("llama" | "mistral" | "qwen2" | "qwen3") => Self::of_llama(kind, config),
            _ => None,
        }
    }

    fn of_gpt2(config: &Value) -> Option<Self> {
        let width = number(config, "n_embd", WIDE)?;
        number(config, "n_head", MANY)?;
        Some(Self {
            family: Family::Gpt2,
            layers: number(config, "n_layer", MANY)?,
            width,
            queries: width,
            keys: width,
            biases: Biases::ALL,
            head_norm: 0,
            inner: number(config, "n_inner", INNER).unwrap_or(4 * width),
            context: number(config, "n_positions", TOKENS)?,
            vocabulary: number(config, "vocab_size", TOKENS)?,
            tied: config["tie_word_embeddings"].as_bool().unwrap_or(true),
        })
    }

    fn of_llama(kind: &str, config: &Value) -> Option<Self> {
        let width = number(config, "hidden_size", WIDE)?;
        let heads = number(config, "num_attention_heads", MANY)?;
        let usual = if kind == "qwen3" { 128 } else { width / heads };
        let head = number(config, "head_dim", HEAD).unwrap_or(usual);
        let key_heads = number(config, "num_key_value_heads", MANY).unwrap_or(heads);
        let set = |name: &str| config[name].as_bool().unwrap_or(false);
        let attention = matches!(kind, "llama" | "qwen3") && set("attention_bias");
        Some(Self {
            family: Family::Llama,
            layers: number(config, "num_hidden_layers", MANY)?,
            width,
            queries: head * heads,
            keys: head * key_heads,
            biases: Biases {
                queries_keys_values: attention || kind == "qwen2",
                attention_output: attention,
                feed_forward: kind == "llama" && set("mlp_bias"),
            },
            head_norm: if kind == "qwen3" { head } else { 0 },
            inner: number(config, "intermediate_size", INNER)?,
            context: context(config)?,
            vocabulary: number(config, "vocab_size", TOKENS)?,
            tied: config["tie_word_embeddings"].as_bool().unwrap_or(false),
        })
    }

    /// The linear layers of a block.
    #[must_use]
    pub fn linears(&self) -> Vec<Linear> {
        let (width, keys, inner) = (self.width, self.keys, self.inner);
        let Biases {
            queries_keys_values: enter,
            attention_output: leave,
            feed_forward: feed,
        } = self.biases;
        let linear = |name, input, output, bias| Linear {
            name,
            input,
            output,
            bias,
        };
        match self.family {
            Family::Gpt2 => vec![
                linear("attn.c_attn", width, 3 * width, enter),
                linear("attn.c_proj", width, width, leave),
                linear("mlp.c_fc", width, inner, feed),
                linear("mlp.c_proj", inner, width, feed),
            ],
            Family::Llama => vec![
                linear("self_attn.q_proj", width, self.queries, enter),
                linear("self_attn.k_proj", width, keys, enter),
                linear("self_attn.v_proj", width, keys, enter),
                linear("self_attn.o_proj", self.queries, width, leave),
                linear("mlp.gate_proj", width, inner, feed),
                linear("mlp.up_proj", width, inner, feed),
                linear("mlp.down_proj", inner, width, feed),
            ],
        }
    }

    /// Everything but the linear layers of the blocks; the head too where it is the embedding.
    fn modules(&self) -> Vec<Module> {
        let (width, embedding) = (self.width, self.vocabulary.saturating_mul(self.width));
        let module = |name, in_blocks, weight, bias| Module {
            name,
            in_blocks,
            weight,
            bias,
        };
        let mut modules = match self.family {
            Family::Gpt2 => vec![
                module("wte", false, embedding, 0),
                module("wpe", false, self.context.saturating_mul(width), 0),
                module("ln_1", true, width, width),
                module("ln_2", true, width, width),
                module("ln_f", false, width, width),
            ],
            Family::Llama => vec![
                module("embed_tokens", false, embedding, 0),
                module("input_layernorm", true, width, 0),
                module("post_attention_layernorm", true, width, 0),
                module("norm", false, width, 0),
            ],
        };
        if self.head_norm > 0 {
            modules.push(module("self_attn.q_norm", true, self.head_norm, 0));
            modules.push(module("self_attn.k_norm", true, self.head_norm, 0));
        }
        modules.push(module(adapter::HEAD, false, embedding, 0));
        modules
    }

    /// Numbers in the model.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let linears = self.linears().into_iter().map(|linear| {
            let bias = if linear.bias { linear.output } else { 0 };
            let numbers = linear.input.saturating_mul(linear.output).saturating_add(bias);
            self.layers.saturating_mul(numbers)
        });
        let own = |module: &Module| !(self.tied && module.name == adapter::HEAD);
        let others = self.modules().into_iter().filter(own).map(|module| {
            let times = if module.in_blocks { self.layers } else { 1 };
            times.saturating_mul(module.weight.saturating_add(module.bias))
        });
        linears.chain(others).fold(0, u64::saturating_add)
    }

    /// Numbers that a block keeps per token for its gradients: two norms with input and output; queries, keys, values
    /// and attention's output; the feed-forward layer's input, gate and output, of which GPT-2 has no gate; the inputs of
    /// the norms of heads. Attention's weights are computed again, so the length of a sequence has no part in it.
    #[must_use]
    pub fn kept_per_token(&self) -> u64 {
        let feed_forward = match self.family {
            Family::Gpt2 => 2,
            Family::Llama => 3,
        };
        let head_norms = if self.head_norm > 0 {
            self.queries + self.keys
        } else {
            0
        };
        4 * self.width + 2 * self.queries + 2 * self.keys + feed_forward * self.inner + head_norms
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Shape;
    use crate::{Architecture, HyperParameters, Lora, Method, Objective, Outputs, TrainingSpec};

    /// The published sizes of these models.
    #[test]
    fn known_models_have_their_known_sizes() {
        let gpt2 = json!({
            "model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024,
            "n_inner": null, "vocab_size": 50_257,
        });
        let gpt2 = Shape::of_config(&gpt2).expect("known");
        assert_eq!(gpt2.parameters(), 124_439_808);
        assert_eq!(gpt2.adapter_parameters(&Lora::default()), 294_912);
        let llama = json!({
            "model_type": "llama", "num_hidden_layers": 22, "num_attention_heads": 32, "hidden_size": 2048,
            "num_key_value_heads": 4, "intermediate_size": 5632, "max_position_embeddings": 2048,
            "vocab_size": 32_000, "tie_word_embeddings": false,
        });
        let llama = Shape::of_config(&llama).expect("TinyLlama 1.1B");
        assert_eq!(llama.parameters(), 1_100_048_384);
    }

    /// JB-1: what the base cannot do is said before the job is queued.
    #[test]
    fn what_does_not_fit_the_base_is_named() {
        let shape = Shape {
            context: 64,
            ..Shape::from(&Architecture {
                layers: 1,
                heads: 2,
                width: 32,
                context: 128,
                vocabulary: 300,
            })
        };
        let lora = Lora {
            rank: 33,
            target_modules: ["c_attn", "q_proj", "lm_head"].map(str::to_owned).to_vec(),
            modules_to_save: ["wte", "c_fc"].map(str::to_owned).to_vec(),
            ..Lora::default()
        };
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Lora(lora),
            objective: Objective::default(),
            parameters: HyperParameters::default(),
        };
        let fields: Vec<&str> = shape.misfits(&spec).iter().map(|problem| problem.field).collect();
        assert_eq!(
            fields,
            [
                "parameters.sequenceLength",
                "lora.rank",
                "lora.targetModules",
                "lora.targetModules",
                "lora.modulesToSave"
            ]
        );
    }

    #[test]
    fn what_is_not_known_or_absurd_is_no_shape() {
        for config in [
            json!({}),
            json!({ "model_type": "bloom", "n_layer": 1 }),
            json!({ "model_type": "gpt2", "n_layer": 12 }),
            json!({
                "model_type": "gpt2", "n_layer": u64::MAX, "n_head": 12, "n_embd": 768, "n_positions": 1024,
                "vocab_size": 50_257,
            }),
            json!({
                "model_type": "gpt2", "n_layer": 0, "n_head": 12, "n_embd": 768, "n_positions": 1024,
                "vocab_size": 50_257,
            }),
        ] {
            assert_eq!(Shape::of_config(&config), None, "{config}");
        }
    }
}
