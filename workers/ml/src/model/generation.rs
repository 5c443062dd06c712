//! `generation_config.json`: how the makers of a model want text to be drawn from it.
//!
//! Rule: an absent field has the default of Hugging Face's `GenerationConfig`; a value that cannot be meant is
//! refused, all of them at once.

use serde_json::{Map, Value};

use super::config::{Fields, ModelConfig, invalid};
use crate::failure::Failure;

/// How text is drawn from a model when nobody says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationSettings {
    /// The tokens that end a text; those of `config.json` where the file names none.
    pub ends_of_text: Vec<u32>,
    /// The token that pads rows of a batch, where there is one.
    pub padding: Option<u32>,
    /// Whether tokens are drawn; otherwise the likeliest is taken.
    pub sample: bool,
    /// Scores are divided by it, above 0. Default 1.
    pub temperature: f64,
    /// Only the likeliest tokens that together have this probability are drawn from, above 0 to 1. Default 1.
    pub top_p: f64,
    /// Only this many of the likeliest tokens are drawn from; 0 is all. Default 50.
    pub top_k: usize,
    /// Scores of tokens that were there before are divided by it (multiplied where below 0), above 0. Default 1
    /// (CTRL, arXiv:1909.05858).
    pub repetition_penalty: f64,
    /// Longest continuation in tokens, where the file says.
    pub max_new_tokens: Option<usize>,
}

impl GenerationSettings {
    /// What holds for a model of `config` without a file.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            ends_of_text: config.ends_of_text().to_vec(),
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
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with every value that cannot be meant.
    pub fn from_json(bytes: &[u8], config: &ModelConfig) -> Result<Self, Failure> {
        let json: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("generation_config.json is no JSON object: {error}")))?;
        let mut fields = Fields::new(&json);
        let absent = Self::of(config);
        let mut ends_of_text = fields.tokens("eos_token_id", config.vocab_size());
        if ends_of_text.is_empty() {
            ends_of_text = absent.ends_of_text;
        }
        let top_k = match fields.get("top_k") {
            Some(zero) if zero.as_u64() == Some(0) => 0,
            _ => fields.whole("top_k", Some(absent.top_k), 1 << 24),
        };
        // Files of models that never draw have a temperature of 0.
        let sample = fields.flag("do_sample", absent.sample);
        let temperature = fields.real("temperature", 0.0, 1e3).unwrap_or(absent.temperature);
        if sample && temperature == 0.0 {
            fields.refuse("temperature is 0 although do_sample is true");
        }
        let settings = Self {
            ends_of_text,
            padding: fields
                .tokens("pad_token_id", config.vocab_size())
                .first()
                .copied(),
            sample,
            temperature: if temperature == 0.0 { 1.0 } else { temperature },
            top_p: fields
                .real("top_p", f64::MIN_POSITIVE, 1.0)
                .unwrap_or(absent.top_p),
            top_k,
            repetition_penalty: fields
                .real("repetition_penalty", f64::MIN_POSITIVE, 1e3)
                .unwrap_or(absent.repetition_penalty),
            max_new_tokens: fields.optional("max_new_tokens", 1 << 24),
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
            vocab_size: 300,
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
            ends_of_text: vec![3, 4],
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
        assert_eq!(GenerationSettings::of(&config()).ends_of_text, [9]);
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
