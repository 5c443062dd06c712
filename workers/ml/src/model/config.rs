//! Configurations of the supported models, and their `config.json`.
//!
//! Rule: a configuration that Hugging Face would compute differently is rejected with the names of all unsupported
//! settings. Tensors keep the names and layouts of Hugging Face's files, without the prefix of the base model
//! (`transformer.`, `model.`), which some files lack.

mod fields;
pub mod gpt2;
mod linear_spec;
pub mod llama;
pub mod rope;

pub(crate) use fields::{JsonFields, invalid};
pub use gpt2::Gpt2Config;
pub use linear_spec::LinearSpec;
pub use llama::LlamaConfig;
use llama::LlamaVariant;
use serde_json::{Map, Value, json};

use crate::{
    failure::Failure,
    spec::shape::{self, Biases, Shape},
    tensor_file::TensorSpec,
};

/// The output matrix of a model without tied embeddings.
pub const HEAD: &str = "lm_head.weight";

/// A supported architecture.
#[derive(Debug)]
pub(super) struct ArchitectureInfo {
    /// Its name in `architectures`.
    pub(super) name: &'static str,
    /// Its name in `model_type`.
    model_type: &'static str,
    /// Its name for people.
    title: &'static str,
    /// `None` is GPT-2.
    variant: Option<LlamaVariant>,
}

/// The supported architectures.
pub(super) static ARCHITECTURES: [ArchitectureInfo; 5] = [
    supported(gpt2::ARCHITECTURE, "gpt2", "GPT-2", None),
    supported("LlamaForCausalLM", "llama", "Llama", Some(LlamaVariant::Llama)),
    supported(
        "MistralForCausalLM",
        "mistral",
        "Mistral",
        Some(LlamaVariant::Mistral),
    ),
    supported("Qwen2ForCausalLM", "qwen2", "Qwen2", Some(LlamaVariant::Qwen2)),
    supported("Qwen3ForCausalLM", "qwen3", "Qwen3", Some(LlamaVariant::Qwen3)),
];

const fn supported(
    name: &'static str,
    model_type: &'static str,
    title: &'static str,
    variant: Option<LlamaVariant>,
) -> ArchitectureInfo {
    ArchitectureInfo {
        name,
        model_type,
        title,
        variant,
    }
}

/// How the files of a family store the matrices of linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// GPT-2: `[in, out]` (`Conv1D`).
    Gpt2,
    /// Llama and its variants: `[out, in]` (`Linear`).
    Llama,
}

/// Configuration of a causal language model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    /// The GPT-2 family.
    Gpt2(Gpt2Config),
    /// The Llama family.
    Llama(LlamaConfig),
}

impl From<Gpt2Config> for ModelConfig {
    fn from(config: Gpt2Config) -> Self {
        Self::Gpt2(config)
    }
}

impl From<LlamaConfig> for ModelConfig {
    fn from(config: LlamaConfig) -> Self {
        Self::Llama(config)
    }
}

/// A field that both families have.
macro_rules! either {
    ($self:ident, $config:ident => $value:expr) => {
        match $self {
            ModelConfig::Gpt2($config) => $value,
            ModelConfig::Llama($config) => $value,
        }
    };
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when it is not JSON, for an unsupported architecture (with the supported
    /// ones), and with all settings that are not supported or out of range.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Failure> {
        let json: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("config.json is not a JSON object: {error}")))?;
        match architecture(&json)?.variant {
            None => Gpt2Config::read(&json).map(Self::Gpt2),
            Some(variant) => LlamaConfig::read(variant, &json).map(Self::Llama),
        }
    }

    /// Its `config.json` for weights in 32-bit floats, which `transformers` can read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Gpt2(config) => config.to_json(),
            Self::Llama(config) => {
                let mut json = config.source.clone();
                json.remove("torch_dtype");
                json.insert("dtype".to_owned(), json!("float32"));
                Value::Object(json)
            }
        }
    }

    /// The name of the family: `GPT-2`, `Qwen2`.
    #[must_use]
    pub fn title(&self) -> &'static str {
        let variant = match self {
            Self::Gpt2(_) => None,
            Self::Llama(config) => Some(config.variant),
        };
        ARCHITECTURES
            .iter()
            .find(|known| known.variant == variant)
            .map_or("", |known| known.title)
    }

    /// How its files store matrices.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Gpt2(_) => Family::Gpt2,
            Self::Llama(_) => Family::Llama,
        }
    }

    /// Transformer blocks.
    #[must_use]
    pub fn layers(&self) -> usize {
        either!(self, config => config.layers)
    }

    /// Query heads of a block.
    #[must_use]
    pub fn heads(&self) -> usize {
        either!(self, config => config.heads)
    }

    /// Key and value heads of a block.
    #[must_use]
    pub fn key_heads(&self) -> usize {
        match self {
            Self::Gpt2(config) => config.heads,
            Self::Llama(config) => config.key_heads,
        }
    }

    /// Width of a head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        match self {
            Self::Gpt2(config) => config.width / config.heads,
            Self::Llama(config) => config.head_size,
        }
    }

    /// Width of the feed-forward layers.
    #[must_use]
    pub fn feed_forward_width(&self) -> usize {
        either!(self, config => config.feed_forward_width)
    }

    /// Width of the hidden states.
    #[must_use]
    pub fn width(&self) -> usize {
        either!(self, config => config.width)
    }

    /// Context length in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        either!(self, config => config.context)
    }

    /// Rows of the token embedding.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        either!(self, config => config.vocab_size)
    }

    /// Whether the output matrix is the token embedding.
    #[must_use]
    pub fn has_tied_embeddings(&self) -> bool {
        either!(self, config => config.tied_embeddings)
    }

    /// Its shape, by which memory is estimated and adapters are checked.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let (family, biases, head_norm) = match self {
            Self::Gpt2(_) => (shape::Family::Gpt2, Biases::ALL, 0),
            Self::Llama(config) => {
                let biases = Biases {
                    queries_keys_values: config.qkv_bias,
                    attention_output: config.attention_output_bias,
                    feed_forward: config.feed_forward_bias,
                };
                let norm = if config.has_qk_norms() {
                    config.head_size
                } else {
                    0
                };
                (shape::Family::Llama, biases, norm)
            }
        };
        let size = |numbers: usize| numbers as u64;
        Shape {
            family,
            layers: size(self.layers()),
            width: size(self.width()),
            queries: size(self.heads() * self.head_size()),
            keys: size(self.key_heads() * self.head_size()),
            biases,
            head_norm: size(head_norm),
            inner: size(self.feed_forward_width()),
            context: size(self.context()),
            vocabulary: size(self.vocab_size()),
            tied: self.has_tied_embeddings(),
        }
    }

    /// The tokens that end a text.
    #[must_use]
    pub fn eos_tokens(&self) -> &[u32] {
        either!(self, config => &config.eos_tokens)
    }

    /// Sets the tokens that end a text.
    pub(super) fn set_eos_tokens(&mut self, ends: &[u32]) {
        either!(self, config => config.eos_tokens = ends.to_vec());
    }

    /// Prefix of the base model's tensors in files; some files lack it.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        match self {
            Self::Gpt2(_) => "transformer.",
            Self::Llama(_) => "model.",
        }
    }

    /// The name of a tensor or module in a file written by `save_pretrained`.
    #[must_use]
    pub fn file_name(&self, name: &str) -> String {
        if name.starts_with("lm_head") {
            name.to_owned()
        } else {
            format!("{}{name}", self.prefix())
        }
    }

    /// The token embedding.
    #[must_use]
    pub fn embedding(&self) -> &'static str {
        match self {
            Self::Gpt2(_) => "wte.weight",
            Self::Llama(_) => "embed_tokens.weight",
        }
    }

    /// The linear layers of the blocks, in the order in which they are used; [`super::Adapter`] uses the same order.
    #[must_use]
    pub fn linear_layers(&self) -> Vec<LinearSpec> {
        either!(self, config => config.linear_layers())
    }

    /// Every tensor of the network with its shape in the file.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = either!(self, config => config.other_tensors());
        for LinearSpec { name, shape, bias } in self.linear_layers() {
            if bias {
                tensors.push((format!("{name}.bias"), [1, shape[1]]));
            }
            let [input, output] = shape;
            let shape = match self.family() {
                Family::Gpt2 => [input, output],
                Family::Llama => [output, input],
            };
            tensors.push((format!("{name}.weight"), shape));
        }
        if !self.has_tied_embeddings() {
            tensors.push((HEAD.to_owned(), [self.vocab_size(), self.width()]));
        }
        tensors
    }
}

/// The supported architecture that `json` names.
fn architecture(json: &Map<String, Value>) -> Result<&'static ArchitectureInfo, Failure> {
    let names = json.get("architectures").and_then(Value::as_array);
    let named = names.and_then(|names| names.first()).and_then(Value::as_str);
    let model_type = json.get("model_type").and_then(Value::as_str);
    let found = ARCHITECTURES.iter().find(|known| match (named, model_type) {
        (Some(name), Some(model_type)) => known.name == name && known.model_type == model_type,
        (Some(name), None) => known.name == name,
        (None, model_type) => Some(known.model_type) == model_type,
    });
    found.ok_or_else(|| {
        let name = match (named, model_type) {
            (Some(name), Some(model_type)) => format!("{name} (model_type {model_type})"),
            (name, model_type) => name.or(model_type).unwrap_or("(none named)").to_owned(),
        };
        let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
        invalid(format!(
            "the architecture {name} is not supported; choose a model of one of {}",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests;
