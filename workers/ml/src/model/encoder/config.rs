//! Configuration of a sentence encoder, from the files of its folder.
//!
//! Rule: settings that `sentence-transformers` would compute differently are rejected by name, file by file.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{
    failure::{Failure, FailureCode},
    files,
    model::config::{JsonFields, invalid},
    tensor_file::TensorSpec,
};

/// How the hidden states of the tokens are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// The state of the first token.
    Cls,
}

/// Sizes of a BERT, and how its hidden states become a vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
    pub(super) intermediate_size: usize,
    pub(super) context: usize,
    pub(super) vocab_size: usize,
    pub(super) token_types: usize,
    pub(super) epsilon: f64,
    /// Maximum number of tokens per text.
    pub(super) max_tokens: usize,
    pub(super) pooling: Pooling,
    pub(super) normalizes: bool,
}

impl EncoderConfig {
    /// Reads the files in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let config = object(folder, "config.json")?
            .ok_or_else(|| invalid("config.json is missing; the folder holds no model"))?;
        let mut read = bert(&config)?;
        if let Some(modules) = file(folder, "modules.json")? {
            read.apply_modules(folder, &modules)?;
        }
        if let Some(settings) = object(folder, "sentence_bert_config.json")? {
            let mut fields = JsonFields::new(&settings);
            let max_tokens = fields.optional_integer("max_seq_length", 1 << 20);
            // The tokenizer lower-cases; this setting would do it a second time.
            fields.require_supported("do_lower_case", &[json!(false)]);
            fields.finish("sentence_bert_config.json")?;
            read.limit_tokens(max_tokens);
        }
        if let Some(settings) = object(folder, "tokenizer_config.json")? {
            // A tokenizer without a limit stores 10³⁰.
            let max_tokens = settings.get("model_max_length").and_then(Value::as_u64);
            read.limit_tokens(max_tokens.and_then(|max_tokens| usize::try_from(max_tokens).ok()));
        }
        Ok(read)
    }

    fn limit_tokens(&mut self, max_tokens: Option<usize>) {
        self.max_tokens = max_tokens.map_or(self.max_tokens, |max_tokens| max_tokens.min(self.max_tokens));
    }

    /// Every tensor with its shape.
    pub(super) fn tensors(&self) -> Vec<TensorSpec> {
        let (width, intermediate_size) = (self.width, self.intermediate_size);
        let mut tensors = vec![
            (
                "embeddings.word_embeddings.weight".to_owned(),
                [self.vocab_size, width],
            ),
            (
                "embeddings.position_embeddings.weight".to_owned(),
                [self.context, width],
            ),
            (
                "embeddings.token_type_embeddings.weight".to_owned(),
                [self.token_types, width],
            ),
        ];
        let norm = |tensors: &mut Vec<TensorSpec>, name: &str| {
            for part in ["weight", "bias"] {
                tensors.push((format!("{name}.LayerNorm.{part}"), [1, width]));
            }
        };
        norm(&mut tensors, "embeddings");
        for layer in 0..self.layers {
            let at = |name: &str| format!("encoder.layer.{layer}.{name}");
            for (name, [output, input]) in [
                ("attention.self.query", [width, width]),
                ("attention.self.key", [width, width]),
                ("attention.self.value", [width, width]),
                ("attention.output.dense", [width, width]),
                ("intermediate.dense", [intermediate_size, width]),
                ("output.dense", [width, intermediate_size]),
            ] {
                tensors.push((at(&format!("{name}.weight")), [output, input]));
                tensors.push((at(&format!("{name}.bias")), [1, output]));
            }
            norm(&mut tensors, &at("attention.output"));
            norm(&mut tensors, &at("output"));
        }
        tensors
    }

    /// Applies the steps in `modules.json`.
    fn apply_modules(&mut self, folder: &Path, modules: &Value) -> Result<(), Failure> {
        let named = |module: &Value| {
            let kind = module["type"].as_str()?.rsplit('.').next()?.to_owned();
            Some((kind, module["path"].as_str()?.to_owned()))
        };
        let steps: Option<Vec<_>> = modules
            .as_array()
            .and_then(|modules| modules.iter().map(named).collect());
        let steps =
            steps.ok_or_else(|| invalid("modules.json is not a list of modules with type and path"))?;
        let token_types: Vec<&str> = steps.iter().map(|(kind, _)| kind.as_str()).collect();
        self.normalizes = match token_types.as_slice() {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            other => {
                return Err(invalid(format!(
                    "modules.json: the steps {} are not supported, only Transformer, Pooling and Normalize",
                    other.join(", ")
                )));
            }
        };
        if !steps[0].1.is_empty() {
            return Err(invalid(format!(
                "modules.json: the transformer is in {:?}, expected in the folder itself",
                steps[0].1
            )));
        }
        let place = &steps[1].1;
        if !place
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            return Err(invalid(format!(
                "modules.json: {place:?} is not a folder of the model"
            )));
        }
        let name = format!("{place}/config.json");
        let pooling = object(folder, &name)?.ok_or_else(|| invalid(format!("{name} is missing")))?;
        self.pooling = self.pooling_of(&pooling, &name)?;
        Ok(())
    }

    fn pooling_of(&self, pooling: &Map<String, Value>, name: &str) -> Result<Pooling, Failure> {
        let mut fields = JsonFields::new(pooling);
        for width in ["word_embedding_dimension", "embedding_dimension"] {
            fields.require_supported(width, &[json!(self.width)]);
        }
        fields.finish(name)?;
        // Older files have a flag per pooling mode, newer ones its name.
        let word = pooling
            .get("pooling_mode")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let flags = pooling.iter().filter(|(_, value)| **value == json!(true));
        let mut ways: Vec<String> = flags
            .filter_map(|(field, _)| field.strip_prefix("pooling_mode_"))
            .map(|way| {
                way.trim_end_matches("_tokens")
                    .trim_end_matches("_token")
                    .to_owned()
            })
            .collect();
        ways.extend(word);
        match ways.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["mean"] => Ok(Pooling::Mean),
            ["cls"] => Ok(Pooling::Cls),
            other => Err(invalid(format!(
                "{name}: pooling by {} is not supported, only by mean or cls",
                if other.is_empty() {
                    "nothing".to_owned()
                } else {
                    other.join(" and ")
                }
            ))),
        }
    }
}

/// Whether the file's tensor `name` is not part of the network: heads of pre-training, and position IDs.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with("pooler.") || name.starts_with("cls.") || name == "embeddings.position_ids"
}

fn bert(json: &Map<String, Value>) -> Result<EncoderConfig, Failure> {
    let named = json
        .get("architectures")
        .and_then(|names| names.get(0))
        .and_then(Value::as_str);
    let kind = json.get("model_type").and_then(Value::as_str);
    if kind != Some("bert") || named.is_some_and(|name| !name.starts_with("Bert")) {
        let name = named.or(kind).unwrap_or("(none named)");
        return Err(invalid(format!(
            "the encoder {name} is not supported, only BertModel (BERT, MiniLM)"
        )));
    }
    let mut fields = JsonFields::new(json);
    fields.require_supported("hidden_act", &[json!("gelu")]);
    fields.require_supported("position_embedding_type", &[json!("absolute")]);
    fields.require_supported("is_decoder", &[json!(false)]);
    fields.require_supported("add_cross_attention", &[json!(false)]);
    let config = EncoderConfig {
        layers: fields.integer("num_hidden_layers", Some(12), 1024),
        heads: fields.integer("num_attention_heads", Some(12), 1024),
        width: fields.integer("hidden_size", Some(768), 65_536),
        intermediate_size: fields.integer("intermediate_size", Some(3072), 1 << 20),
        context: fields.integer("max_position_embeddings", Some(512), 1 << 20),
        vocab_size: fields.integer("vocab_size", Some(30_522), 1 << 24),
        token_types: fields.integer("type_vocab_size", Some(2), 1024),
        epsilon: fields.float("layer_norm_eps", 0.0, 1.0).unwrap_or(1e-12),
        max_tokens: 0,
        pooling: Pooling::Mean,
        normalizes: false,
    };
    if !config.width.is_multiple_of(config.heads) {
        fields.reject(format!(
            "num_attention_heads {} does not divide hidden_size {}",
            config.heads, config.width
        ));
    }
    fields.finish("config.json")?;
    Ok(EncoderConfig {
        max_tokens: config.context,
        ..config
    })
}

fn file(folder: &Path, name: &str) -> Result<Option<Value>, Failure> {
    let bytes = files::read_optional(&folder.join(name), FailureCode::BaseModelInvalid)?;
    let json = bytes.map(|bytes| serde_json::from_slice(&bytes));
    json.transpose()
        .map_err(|error| invalid(format!("{name} is not JSON: {error}")))
}

fn object(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>, Failure> {
    match file(folder, name)? {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(invalid(format!("{name} is not a JSON object"))),
    }
}
