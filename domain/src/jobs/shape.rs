//! The shape of a language model, as far as its size is concerned.
//!
//! One rule: it is what the order or a `config.json` says, never what files weigh; a shape that this build does
//! not know is no shape, and what depends on it is unknown.

use serde_json::Value;

use super::spec::{ALL_LINEAR, Architecture, Method, SpecProblem, TrainingSpec};

/// The layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// GPT-2: learned positions, biases, one feed-forward matrix in and one out, tied head.
    Gpt2,
    /// Llama and its kin (Mistral, Qwen2, Qwen3): no positions, a gated feed-forward layer.
    Llama,
}

/// The size of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The layers of a block.
    pub family: Family,
    /// Blocks.
    pub layers: u64,
    /// Attention heads.
    pub heads: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Width of all queries of a token.
    pub queries: u64,
    /// Width of all keys of a token; as wide for values.
    pub keys: u64,
    /// Numbers of a block in biases, and in norms of heads. Of GPT-2 they are always there, and not counted here.
    pub extras: u64,
    /// Width inside the feed-forward layer.
    pub inner: u64,
    /// Positions that the model can see, in tokens.
    pub context: u64,
    /// Tokens it knows.
    pub vocabulary: u64,
    /// Whether the output layer is the embedding.
    pub tied: bool,
}

impl From<&Architecture> for Shape {
    fn from(shape: &Architecture) -> Self {
        let width = u64::from(shape.width);
        Self {
            family: Family::Gpt2,
            layers: shape.layers.into(),
            heads: shape.heads.into(),
            width,
            queries: width,
            keys: width,
            extras: 0,
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

impl Shape {
    /// What a `config.json` in the manner of Hugging Face says; `None` when it is of another family, or numbers
    /// are missing or absurd.
    #[must_use]
    pub fn of_config(config: &Value) -> Option<Self> {
        let number = |name: &str, most: u64| config[name].as_u64().filter(|value| (1..=most).contains(value));
        match config["model_type"].as_str()? {
            "gpt2" => {
                let width = number("n_embd", WIDE)?;
                Some(Self {
                    family: Family::Gpt2,
                    layers: number("n_layer", MANY)?,
                    heads: number("n_head", MANY)?,
                    width,
                    queries: width,
                    keys: width,
                    extras: 0,
                    inner: number("n_inner", INNER).unwrap_or(4 * width),
                    context: number("n_positions", TOKENS)?,
                    vocabulary: number("vocab_size", TOKENS)?,
                    tied: config["tie_word_embeddings"].as_bool().unwrap_or(true),
                })
            }
            kind @ ("llama" | "mistral" | "qwen2" | "qwen3") => {
                let (width, heads) = (number("hidden_size", WIDE)?, number("num_attention_heads", MANY)?);
                let usual = if kind == "qwen3" { 128 } else { width / heads };
                let head = number("head_dim", HEAD).unwrap_or(usual);
                let (queries, keys) = (
                    head * heads,
                    head * number("num_key_value_heads", MANY).unwrap_or(heads),
                );
                let inner = number("intermediate_size", INNER)?;
                let set = |name: &str| config[name].as_bool().unwrap_or(false);
                let (enter, leave) = (queries + 2 * keys, width);
                let extras = match kind {
                    "llama" => {
                        let attention = if set("attention_bias") { enter + leave } else { 0 };
                        let feed = if set("mlp_bias") { 2 * inner + width } else { 0 };
                        attention + feed
                    }
                    "qwen2" => enter,
                    "qwen3" if set("attention_bias") => enter + leave + 2 * head,
                    "qwen3" => 2 * head,
                    _ => 0,
                };
                Some(Self {
                    family: Family::Llama,
                    layers: number("num_hidden_layers", MANY)?,
                    heads,
                    width,
                    queries,
                    keys,
                    extras,
                    inner,
                    context: number("max_position_embeddings", TOKENS)?,
                    vocabulary: number("vocab_size", TOKENS)?,
                    tied: config["tie_word_embeddings"].as_bool().unwrap_or(false),
                })
            }
            _ => None,
        }
    }

    /// The linear layers of a block: name, inputs and outputs.
    #[must_use]
    pub fn linears(&self) -> Vec<(&'static str, u64, u64)> {
        let (width, keys, inner) = (self.width, self.keys, self.inner);
        match self.family {
            Family::Gpt2 => vec![
                ("attn.c_attn", width, 3 * width),
                ("attn.c_proj", width, width),
                ("mlp.c_fc", width, inner),
                ("mlp.c_proj", inner, width),
            ],
            Family::Llama => vec![
                ("self_attn.q_proj", width, self.queries),
                ("self_attn.k_proj", width, keys),
                ("self_attn.v_proj", width, keys),
                ("self_attn.o_proj", self.queries, width),
                ("mlp.gate_proj", width, inner),
                ("mlp.up_proj", width, inner),
                ("mlp.down_proj", inner, width),
            ],
        }
    }

    /// Numbers in the model.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let matrices: u64 = self
            .linears()
            .iter()
            .map(|(_, input, output)| input * output)
            .sum();
        let embedding = self.vocabulary * self.width;
        let head = if self.tied { 0 } else { embedding };
        match self.family {
            Family::Gpt2 => {
                let biases: u64 = self.linears().iter().map(|(_, _, output)| output).sum();
                let block = matrices + biases + 4 * self.width;
                embedding + head + self.context * self.width + self.layers * block + 2 * self.width
            }
            Family::Llama => {
                let block = matrices + self.extras + 2 * self.width;
                embedding + head + self.layers * block + self.width
            }
        }
    }

    /// Numbers in an adapter of `rank` at the layers that `targets` name: the whole name or its end after a dot.
    #[must_use]
    pub fn adapter_parameters(&self, rank: u64, targets: &[String]) -> u64 {
        let is_target = |name: &str| {
            targets
                .iter()
                .any(|target| target == ALL_LINEAR || name == target || name.ends_with(&format!(".{target}")))
        };
        let chosen = self.linears().into_iter().filter(|(name, ..)| is_target(name));
        self.layers
            * chosen
                .map(|(_, input, output)| rank * (input + output))
                .sum::<u64>()
    }

    /// What of `spec` does not fit a base of this shape.
    #[must_use]
    pub fn misfits(&self, spec: &TrainingSpec) -> Vec<SpecProblem> {
        let mut found = Vec::new();
        let mut problem = |field, message| found.push(SpecProblem { field, message });
        let length = u64::from(spec.parameters.sequence_length);
        if length > self.context {
            let message = format!(
                "{length} tokens do not fit the base's context of {}",
                self.context
            );
            problem("parameters.sequenceLength", message);
        }
        let Method::Lora(lora) = &spec.method else {
            return found;
        };
        let linears = self.linears();
        let smallest = linears
            .iter()
            .map(|(_, input, output)| *input.min(output))
            .min()
            .unwrap_or(0);
        if u64::from(lora.rank) > smallest {
            let message = format!(
                "{} is more than {smallest}, the smallest side of the base's matrices",
                lora.rank
            );
            problem("lora.rank", message);
        }
        let has = |target: &str| {
            let named = |name: &str| name == target || name.ends_with(&format!(".{target}"));
            target == ALL_LINEAR || target == "lm_head" || linears.iter().any(|(name, ..)| named(name))
        };
        for target in lora.target_modules.iter().filter(|target| !has(target)) {
            let names: Vec<&str> = linears.iter().map(|(name, ..)| *name).collect();
            let message = format!("the base has no layer '{target}'; it has {}", names.join(", "));
            problem("lora.targetModules", message);
        }
        found
    }

    /// Numbers that a block keeps per token for its gradients: two norms with input and output, queries, keys and
    /// values, attention's output, the feed-forward layer's input, gate and output, and attention's weights over
    /// `length` tokens.
    #[must_use]
    pub fn kept_per_token(&self, length: u64) -> u64 {
        4 * self.width + 2 * self.queries + 2 * self.keys + 3 * self.inner + self.heads * length
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Shape;
    use crate::jobs::spec::{Architecture, HyperParameters, Lora, Method, Objective, Outputs, TrainingSpec};

    /// The published sizes of these models.
    #[test]
    fn known_models_have_their_known_sizes() {
        let gpt2 = json!({
            "model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024,
            "n_inner": null, "vocab_size": 50_257,
        });
        let gpt2 = Shape::of_config(&gpt2).expect("known");
        assert_eq!(gpt2.parameters(), 124_439_808);
        assert_eq!(gpt2.adapter_parameters(8, &["c_attn".to_owned()]), 294_912);
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
            alpha: 16.0,
            dropout: 0.0,
            target_modules: vec!["c_attn".to_owned(), "q_proj".to_owned()],
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
            ["parameters.sequenceLength", "lora.rank", "lora.targetModules"]
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
