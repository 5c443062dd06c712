//! The shape of an encoder, from the files of its folder.
//!
//! Rule: what would be computed differently from `sentence-transformers` is refused by name, file by file.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{
    failure::{Failure, FailureCode},
    model::config::{Fields, invalid},
    tensor_file::Expected,
};

/// How the states of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    First,
}

/// The shape of a BERT, and what is done with its states.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) context: usize,
    pub(super) vocab_size: usize,
    pub(super) kinds: usize,
    pub(super) epsilon: f64,
    /// Tokens that are read of a text.
    pub(super) longest: usize,
    pub(super) pooling: Pooling,
    pub(super) normalised: bool,
}

impl EncoderConfig {
    /// Reads the files in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let config = object(folder, "config.json")?
            .ok_or_else(|| invalid("config.json is missing; the folder holds no model"))?;
        let mut read = bert(&config)?;
        if let Some(modules) = file(folder, "modules.json")? {
            read.take_modules(folder, &modules)?;
        }
        if let Some(settings) = object(folder, "sentence_bert_config.json")? {
            let mut fields = Fields::new(&settings);
            let longest = fields.optional("max_seq_length", 1 << 20);
            // Lower case is the tokenizer's affair; this would do it once more, before.
            fields.only("do_lower_case", &[json!(false)]);
            fields.finish("sentence_bert_config.json")?;
            read.reads_at_most(longest);
        }
        if let Some(settings) = object(folder, "tokenizer_config.json")? {
            // A tokenizer without a limit says 10³⁰.
            let longest = settings.get("model_max_length").and_then(Value::as_u64);
            read.reads_at_most(longest.and_then(|longest| usize::try_from(longest).ok()));
        }
        Ok(read)
    }

    fn reads_at_most(&mut self, longest: Option<usize>) {
        self.longest = longest.map_or(self.longest, |longest| longest.min(self.longest));
    }

    /// Every tensor with its shape.
    pub(super) fn tensors(&self) -> Vec<Expected> {
        let (width, inner) = (self.width, self.inner);
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
                [self.kinds, width],
            ),
        ];
        let norm = |tensors: &mut Vec<Expected>, name: &str| {
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
                ("intermediate.dense", [inner, width]),
                ("output.dense", [width, inner]),
            ] {
                tensors.push((at(&format!("{name}.weight")), [output, input]));
                tensors.push((at(&format!("{name}.bias")), [1, output]));
            }
            norm(&mut tensors, &at("attention.output"));
            norm(&mut tensors, &at("output"));
        }
        tensors
    }

    /// What the steps of `modules.json` do.
    fn take_modules(&mut self, folder: &Path, modules: &Value) -> Result<(), Failure> {
        let named = |module: &Value| {
            let kind = module["type"].as_str()?.rsplit('.').next()?.to_owned();
            Some((kind, module["path"].as_str()?.to_owned()))
        };
        let steps: Option<Vec<_>> = modules
            .as_array()
            .and_then(|modules| modules.iter().map(named).collect());
        let steps = steps.ok_or_else(|| invalid("modules.json is no list of modules with type and path"))?;
        let kinds: Vec<&str> = steps.iter().map(|(kind, _)| kind.as_str()).collect();
        self.normalised = match kinds.as_slice() {
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
                "modules.json: {place:?} is no folder of the model"
            )));
        }
        let name = format!("{place}/config.json");
        let pooling = object(folder, &name)?.ok_or_else(|| invalid(format!("{name} is missing")))?;
        self.pooling = self.pooling_of(&pooling, &name)?;
        Ok(())
    }

    fn pooling_of(&self, pooling: &Map<String, Value>, name: &str) -> Result<Pooling, Failure> {
        let mut fields = Fields::new(pooling);
        for width in ["word_embedding_dimension", "embedding_dimension"] {
            fields.only(width, &[json!(self.width)]);
        }
        fields.finish(name)?;
        // Older files have a flag per way, newer ones a word.
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
            ["cls"] => Ok(Pooling::First),
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

/// Whether the file's tensor `name` is none of the network: the head of its first training, and numbers that
/// count places.
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
    let mut fields = Fields::new(json);
    fields.only("hidden_act", &[json!("gelu")]);
    fields.only("position_embedding_type", &[json!("absolute")]);
    fields.only("is_decoder", &[json!(false)]);
    fields.only("add_cross_attention", &[json!(false)]);
    let config = EncoderConfig {
        layers: fields.whole("num_hidden_layers", Some(12), 1024),
        heads: fields.whole("num_attention_heads", Some(12), 1024),
        width: fields.whole("hidden_size", Some(768), 65_536),
        inner: fields.whole("intermediate_size", Some(3072), 1 << 20),
        context: fields.whole("max_position_embeddings", Some(512), 1 << 20),
        vocab_size: fields.whole("vocab_size", Some(30_522), 1 << 24),
        kinds: fields.whole("type_vocab_size", Some(2), 1024),
        epsilon: fields.real("layer_norm_eps", 0.0, 1.0).unwrap_or(1e-12),
        longest: 0,
        pooling: Pooling::Mean,
        normalised: false,
    };
    if !config.width.is_multiple_of(config.heads) {
        fields.refuse(format!(
            "num_attention_heads {} does not divide hidden_size {}",
            config.heads, config.width
        ));
    }
    fields.finish("config.json")?;
    Ok(EncoderConfig {
        longest: config.context,
        ..config
    })
}

fn file(folder: &Path, name: &str) -> Result<Option<Value>, Failure> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| invalid(format!("{name} is no JSON: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(FailureCode::BaseModelInvalid, "read", &path, &error)),
    }
}

fn object(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>, Failure> {
    match file(folder, name)? {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(invalid(format!("{name} is no JSON object"))),
    }
}
