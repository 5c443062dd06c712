//! `generation_config.json`: the generation settings that a model's authors recommend.
//!
//! Rule: an absent field has the default of Hugging Face's `GenerationConfig`; invalid values are rejected, all at
//! once.

use serde_json::{Map, Value};

use super::config::{JsonFields, ModelConfig, invalid};
use crate::failure::Failure;

/// Default generation settings of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationSettings {
    /// Tokens that end a text; those of `config.json` where the file has none.
    pub eos_tokens: Vec<u32>,
    /// The padding token, where there is one.
    pub padding: Option<u32>,
    /// Whether tokens are sampled; otherwise the most likely one is selected.
    pub sample: bool,
    /// Scores are divided by it, above 0. Default 1.
    pub temperature: f64,
    /// Only the most likely tokens with this total probability are sampled from, above 0 to 1. Default 1.
    pub top_p: f64,
    /// Only this many of the most likely tokens are sampled from; 0 considers all. Default 50.
    pub top_k: usize,
    /// Scores of tokens that have occurred before are divided by it (multiplied where negative), above 0. Default 1
    /// (CTRL, arXiv:1909.05858).
    pub repetition_penalty: f64,
    /// Maximum number of new tokens, where the file limits it.
    pub max_new_tokens: Option<usize>,
}

impl GenerationSettings {
    /// The settings of a model of `config` without the file.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            eos_tokens: config.eos_tokens().to_vec(),
            padding: None,
            sample: false,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 50,
            repetition_penalty: 1.0,
            max_new_tokens: None,
        }
    }

    /// Reads a `generation_config.json` of a model of `config`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with every invalid value.
    pub fn from_json(bytes: &[u8], config: &ModelConfig) -> Result<Self, Failure> {
        let json: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("generation_config.json is not a JSON object: {error}")))?;
        let mut fields = JsonFields::new(&json);
        let absent = Self::of(config);
        let mut eos_tokens = fields.token_ids("eos_token_id", config.vocab_size());
        if eos_tokens.is_empty() {
            eos_tokens = absent.eos_tokens;
        }
        let top_k = match fields.get("top_k") {
            Some(zero) if zero.as_u64() == Some(0) => 0,
            _ => fields.integer("top_k", Some(absent.top_k), 1 << 24),
        };
        // Files of models without sampling contain a temperature of 0.
        let sample = fields.boolean("do_sample", absent.sample);
        let temperature = fields
            .float("temperature", 0.0, 1e3)
            .unwrap_or(absent.temperature);
        if sample && temperature == 0.0 {
            fields.reject("temperature is 0 although do_sample is true");
        }
        let settings = Self {
            eos_tokens,
            padding: fields
                .token_ids("pad_token_id", config.vocab_size())
                .first()
                .copied(),
            sample,
            temperature: if temperature == 0.0 { 1.0 } else { temperature },
            top_p: fields
                .float("top_p", f64::MIN_POSITIVE, 1.0)
                .unwrap_or(absent.top_p),
            top_k,
            repetition_penalty: fields
                .float("repetition_penalty", f64::MIN_POSITIVE, 1e3)
                .unwrap_or(absent.repetition_penalty),
            max_new_tokens: fields.optional_integer("max_new_tokens", 1 << 24),
        };
        fields.finish("generation_config.json")?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{model::config::Gpt2Config, spec::Architecture};

    fn config() -> ModelConfig {
        let shape = Architecture {
            layers: 1,
            heads: 1,
            width: 8,
            context: 16,
            vocabulary: 300,
        };
        Gpt2Config::of(&shape, 300, Some(9)).into()
    }

    fn read(json: &Value) -> Result<GenerationSettings, Failure> {
        GenerationSettings::from_json(json.to_string().as_bytes(), &config())
    }

    #[test]
    fn what_a_file_says_holds_and_what_it_leaves_out_has_its_default() {
        let said = read(&json!({
            "eos_token_id": [3, 4], "do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 0,
            "repetition_penalty": 1.1, "max_new_tokens": 12, "pad_token_id": 5,
        }));
        let expected = GenerationSettings {
            eos_tokens: vec![3, 4],
            padding: Some(5),
            sample: true,
            temperature: 0.6,
            top_p: 0.9,
            top_k: 0,
            repetition_penalty: 1.1,
            max_new_tokens: Some(12),
        };
        assert_eq!(said, Ok(expected));
        assert_eq!(read(&json!({})), Ok(GenerationSettings::of(&config())));
        assert_eq!(GenerationSettings::of(&config()).eos_tokens, [9]);
    }

    #[test]
    fn values_that_cannot_be_meant_are_all_refused() {
        let failure = read(&json!({
            "eos_token_id": [3, 300], "top_p": 1.5, "top_k": -1, "temperature": 0, "do_sample": true,
            "repetition_penalty": 0, "max_new_tokens": 0.5,
        }))
        .expect_err("refused");
        for field in [
            "eos_token_id",
            "top_p",
            "top_k",
            "temperature",
            "repetition_penalty",
            "max_new_tokens",
        ] {
            assert!(failure.message.contains(field), "{field}: {failure}");
        }
    }
}
