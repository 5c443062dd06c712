//! The shape of a GPT-2, and its `config.json`.
//!
//! Rule: a configuration that would be computed differently from Hugging Face's meaning is refused, by the
//! name of what is not supported.

use serde_json::{Value, json};

use crate::{
    failure::{Failure, FailureCode},
    spec::Architecture,
    tensor_file::Expected,
};

/// The architecture this engine knows, as `config.json` names it.
pub const ARCHITECTURE: &str = "GPT2LMHeadModel";

/// The shape of a GPT-2.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt2Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Numbers per token.
    pub width: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Added to variances by the norms.
    pub epsilon: f64,
    /// The token at the end of a text, where there is one.
    pub end_of_text: Option<u32>,
}

impl Gpt2Config {
    /// The configuration of a new model of `shape` with a tokenizer of `vocab_size` tokens.
    #[must_use]
    pub fn of(shape: &Architecture, vocab_size: usize, end_of_text: Option<u32>) -> Self {
        Self {
            layers: shape.layers as usize,
            heads: shape.heads as usize,
            width: shape.width as usize,
            context: shape.context as usize,
            vocab_size,
            epsilon: 1e-5,
            end_of_text,
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`]: not JSON, another architecture (named), a variant of GPT-2 this
    /// engine does not compute (named), or numbers that make no network.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Failure> {
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("config.json is no JSON: {error}")))?;
        check_architecture(&json)?;
        check_variants(&json)?;
        let number = |name: &str, high: u64| match json[name].as_u64() {
            Some(value) if (1..=high).contains(&value) => Ok(value as usize),
            _ => Err(invalid(format!(
                "config.json: {name} is {}; expected 1 to {high}",
                json[name]
            ))),
        };
        let config = Self {
            layers: number("n_layer", 1024)?,
            heads: number("n_head", 1024)?,
            width: number("n_embd", 65_536)?,
            context: number("n_positions", 1 << 20)?,
            vocab_size: number("vocab_size", 1 << 24)?,
            epsilon: json["layer_norm_epsilon"].as_f64().unwrap_or(1e-5),
            end_of_text: json["eos_token_id"]
                .as_u64()
                .and_then(|id| u32::try_from(id).ok()),
        };
        if config.width.is_multiple_of(config.heads) {
            Ok(config)
        } else {
            Err(invalid(format!(
                "config.json: n_head {} does not divide n_embd {}",
                config.heads, config.width
            )))
        }
    }

    /// Its `config.json`, which `transformers` reads.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "architectures": [ARCHITECTURE], "model_type": "gpt2", "activation_function": "gelu_new",
            "n_layer": self.layers, "n_head": self.heads, "n_embd": self.width, "n_positions": self.context,
            "n_ctx": self.context, "n_inner": null, "vocab_size": self.vocab_size,
            "layer_norm_epsilon": self.epsilon, "initializer_range": 0.02,
            "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bos_token_id": self.end_of_text, "eos_token_id": self.end_of_text,
            "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false,
            "reorder_and_upcast_attn": false, "tie_word_embeddings": true, "use_cache": true,
            "dtype": "float32",
        })
    }

    /// Every tensor of the network with its shape, under the names of the Hugging Face file.
    #[must_use]
    pub fn tensors(&self) -> Vec<Expected> {
        let width = self.width;
        let mut tensors = vec![
            ("wte.weight".to_owned(), [self.vocab_size, width]),
            ("wpe.weight".to_owned(), [self.context, width]),
            ("ln_f.weight".to_owned(), [1, width]),
            ("ln_f.bias".to_owned(), [1, width]),
        ];
        for block in 0..self.layers {
            let mut add = |name: &str, shape| tensors.push((format!("h.{block}.{name}"), shape));
            for norm in ["ln_1", "ln_2"] {
                add(&format!("{norm}.weight"), [1, width]);
                add(&format!("{norm}.bias"), [1, width]);
            }
            for slot in crate::lora::Slot::ALL {
                let [input, output] = slot.shape(width);
                add(&format!("{}.weight", slot.name()), [input, output]);
                add(&format!("{}.bias", slot.name()), [1, output]);
            }
        }
        tensors
    }
}

fn check_architecture(json: &Value) -> Result<(), Failure> {
    let named = json["architectures"]
        .as_array()
        .and_then(|names| names.first())
        .and_then(Value::as_str);
    let kind = json["model_type"].as_str();
    if named == Some(ARCHITECTURE) || (named.is_none() && kind == Some("gpt2")) {
        return Ok(());
    }
    let name = named.or(kind).unwrap_or("(none named)");
    Err(invalid(format!(
        "the architecture {name} is not supported; choose a {ARCHITECTURE} (GPT-2, DialoGPT)"
    )))
}

/// Fields of GPT-2's configuration whose other values mean another network, with the value that is computed.
fn check_variants(json: &Value) -> Result<(), Failure> {
    let computed = [
        ("activation_function", json!("gelu_new")),
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("tie_word_embeddings", json!(true)),
        ("add_cross_attention", json!(false)),
    ];
    for (name, value) in computed {
        if !json[name].is_null() && json[name] != value {
            return Err(invalid(format!(
                "config.json: {name} = {} is not supported, only {value}",
                json[name]
            )));
        }
    }
    let wide = json["n_embd"].as_u64().map(|width| json!(width * 4));
    if !json["n_inner"].is_null() && Some(&json["n_inner"]) != wide.as_ref() {
        return Err(invalid(format!(
            "config.json: n_inner = {} is not supported, only 4 · n_embd",
            json["n_inner"]
        )));
    }
    Ok(())
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureCode::BaseModelInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Gpt2Config {
        let shape = Architecture {
            layers: 2,
            heads: 2,
            width: 16,
            context: 32,
            vocab_size: 300,
        };
        Gpt2Config::of(&shape, 300, Some(0))
    }

    #[test]
    fn a_configuration_survives_its_json() {
        let bytes = sample().to_json().to_string();
        assert_eq!(Gpt2Config::from_json(bytes.as_bytes()), Ok(sample()));
    }

    /// MO-1
    #[test]
    fn an_unknown_architecture_is_refused_by_name() {
        let failure =
            Gpt2Config::from_json(br#"{"architectures": ["LlamaForCausalLM"]}"#).expect_err("refused");
        assert_eq!(failure.code, FailureCode::BaseModelInvalid);
        assert!(failure.message.contains("LlamaForCausalLM"), "{failure}");
    }

    #[test]
    fn variants_that_would_be_computed_wrongly_are_refused_by_name() {
        for (field, value) in [
            ("activation_function", json!("relu")),
            ("scale_attn_by_inverse_layer_idx", json!(true)),
            ("tie_word_embeddings", json!(false)),
            ("n_inner", json!(17)),
            ("n_head", json!(3)),
            ("vocab_size", json!(-1)),
        ] {
            let mut json = sample().to_json();
            json[field] = value;
            let failure = Gpt2Config::from_json(json.to_string().as_bytes()).expect_err(field);
            assert!(failure.message.contains(field), "{failure}");
        }
    }
}
