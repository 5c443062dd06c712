//! The shapes of the models this engine knows, and their `config.json`.
//!
//! Rule: a configuration that would be computed differently from Hugging Face's meaning is refused, by the
//! names of all that is not supported. Tensors keep the names and layouts of Hugging Face's files, less the
//! prefix of the base model (`transformer.`, `model.`), which some files lack.

mod fields;
pub mod gpt2;
pub mod llama;
pub mod rope;

pub(super) use fields::Fields;
pub use gpt2::Gpt2Config;
pub use llama::LlamaConfig;
use llama::Member;
use serde_json::{Map, Value, json};

use crate::{
    failure::{Failure, FailureCode},
    tensor_file::Expected,
};

/// The output matrix of a model that does not use its token embedding for it.
pub const HEAD: &str = "lm_head.weight";

/// An architecture, as `config.json` names it.
#[derive(Debug)]
pub(super) struct Known {
    /// In `architectures`.
    pub(super) name: &'static str,
    /// In `model_type`.
    kind: &'static str,
    /// In words.
    title: &'static str,
    /// `None` is GPT-2.
    member: Option<Member>,
}

/// Every architecture this engine computes.
pub(super) const ARCHITECTURES: [Known; 5] = [
    known("GPT2LMHeadModel", "gpt2", "GPT-2", None),
    known("LlamaForCausalLM", "llama", "Llama", Some(Member::Llama)),
    known("MistralForCausalLM", "mistral", "Mistral", Some(Member::Mistral)),
    known("Qwen2ForCausalLM", "qwen2", "Qwen2", Some(Member::Qwen2)),
    known("Qwen3ForCausalLM", "qwen3", "Qwen3", Some(Member::Qwen3)),
];

const fn known(name: &'static str, kind: &'static str, title: &'static str, member: Option<Member>) -> Known {
    Known {
        name,
        kind,
        title,
        member,
    }
}

/// A matrix of a block that computes `x · W (+ b)`: what an adapter may update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearLayout {
    /// Its name, to which `.weight` and `.bias` are added.
    pub name: String,
    /// Numbers it takes and numbers it gives.
    pub shape: [usize; 2],
    /// Whether it has a bias.
    pub bias: bool,
}

/// How the files of a family keep a linear layer's matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// GPT-2: `[in, out]` (`Conv1D`).
    Gpt2,
    /// Llama and its kin: `[out, in]` (`Linear`).
    Llama,
}

/// The shape of a causal language model.
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

/// The same field of either family.
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
    /// [`FailureCode::BaseModelInvalid`]: not JSON, an unknown architecture (named, with those known), or variants
    /// and numbers this engine does not compute (all named).
    pub fn from_json(bytes: &[u8]) -> Result<Self, Failure> {
        let json: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("config.json is no JSON object: {error}")))?;
        match architecture(&json)?.member {
            None => Gpt2Config::read(&json).map(Self::Gpt2),
            Some(member) => LlamaConfig::read(member, &json).map(Self::Llama),
        }
    }

    /// Its `config.json` for weights in 32-bit floats, which `transformers` reads.
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

    /// The family, in words: `GPT-2`, `Qwen2`.
    #[must_use]
    pub fn title(&self) -> &'static str {
        let member = match self {
            Self::Gpt2(_) => None,
            Self::Llama(config) => Some(config.member),
        };
        ARCHITECTURES
            .iter()
            .find(|known| known.member == member)
            .map_or("", |known| known.title)
    }

    /// How its files keep matrices.
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

    /// Heads of queries of a block.
    #[must_use]
    pub fn heads(&self) -> usize {
        either!(self, config => config.heads)
    }

    /// Heads of keys and values of a block.
    #[must_use]
    pub fn key_heads(&self) -> usize {
        match self {
            Self::Gpt2(config) => config.heads,
            Self::Llama(config) => config.key_heads,
        }
    }

    /// Numbers per head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        match self {
            Self::Gpt2(config) => config.width / config.heads,
            Self::Llama(config) => config.head_size,
        }
    }

    /// Numbers per token inside the feed-forward layers.
    #[must_use]
    pub fn feed_width(&self) -> usize {
        either!(self, config => config.feed_width)
    }

    /// Numbers per token between the blocks.
    #[must_use]
    pub fn width(&self) -> usize {
        either!(self, config => config.width)
    }

    /// Longest text in tokens.
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
    pub fn is_tied(&self) -> bool {
        either!(self, config => config.tied)
    }

    /// The tokens that end a text.
    #[must_use]
    pub fn ends_of_text(&self) -> &[u32] {
        either!(self, config => &config.ends_of_text)
    }

    /// Sets the tokens that end a text.
    pub(super) fn end_texts_with(&mut self, ends: &[u32]) {
        either!(self, config => config.ends_of_text = ends.to_vec());
    }

    /// What the file's names have before those of the base model's tensors; some files lack it.
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

    /// The matrices of the blocks that compute `x · W (+ b)`, block by block in the order they are used. The
    /// place of a matrix in this list is its place in an [`crate::lora::Adapter`].
    #[must_use]
    pub fn linears(&self) -> Vec<LinearLayout> {
        either!(self, config => config.linears())
    }

    /// Every tensor of the network with its shape in the file.
    #[must_use]
    pub fn tensors(&self) -> Vec<Expected> {
        let mut tensors = either!(self, config => config.others());
        for LinearLayout { name, shape, bias } in self.linears() {
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
        if !self.is_tied() {
            tensors.push((HEAD.to_owned(), [self.vocab_size(), self.width()]));
        }
        tensors
    }
}

/// Which of the known architectures `json` names.
fn architecture(json: &Map<String, Value>) -> Result<&'static Known, Failure> {
    let names = json.get("architectures").and_then(Value::as_array);
    let named = names.and_then(|names| names.first()).and_then(Value::as_str);
    let kind = json.get("model_type").and_then(Value::as_str);
    let found = ARCHITECTURES.iter().find(|known| match (named, kind) {
        (Some(name), Some(kind)) => known.name == name && known.kind == kind,
        (Some(name), None) => known.name == name,
        (None, kind) => Some(known.kind) == kind,
    });
    found.ok_or_else(|| {
        let name = match (named, kind) {
            (Some(name), Some(kind)) => format!("{name} (model_type {kind})"),
            (name, kind) => name.or(kind).unwrap_or("(none named)").to_owned(),
        };
        let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
        invalid(format!(
            "the architecture {name} is not supported; choose a model of one of {}",
            known.join(", ")
        ))
    })
}

/// Refuses weights that are stored in fewer bits than can be read.
fn refuse_quantised(fields: &mut Fields<'_>) {
    if let Some(Value::Object(quantised)) = fields.get("quantization_config") {
        let method = quantised.get("quant_method").unwrap_or(&Value::Null);
        fields.refuse(format!(
            "quantization_config ({method}) is not supported; choose the model in f32, f16 or bf16"
        ));
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureCode::BaseModelInvalid, message)
}

#[cfg(test)]
mod tests;
