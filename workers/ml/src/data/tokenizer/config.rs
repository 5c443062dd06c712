//! `tokenizer_config.json` and the special tokens that it names.
//!
//! Rule: a configuration that names a token which the tokenizer lacks is rejected: the token would be encoded as
//! ordinary characters, which the base model has never seen.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use crate::failure::{Failure, FailureCode};

/// The tokens that `transformers` passes to chat templates by name.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The configuration of a tokenizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerConfig {
    /// `tokenizer_config.json`, including templates that are stored in their own files.
    json: Map<String, Value>,
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja` of `folder`, as far as they
    /// exist.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when one cannot be read or parsed.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let object = |name: &str| -> Result<Map<String, Value>, Failure> {
            let Some(text) = optional(&folder.join(name))? else {
                return Ok(Map::new());
            };
            serde_json::from_str(&text)
                .map_err(|error| invalid(format!("{name} is not a JSON object: {error}")))
        };
        let mut json = object("special_tokens_map.json")?;
        json.retain(|name, _| NAMES.contains(&name.as_str()));
        json.extend(object("tokenizer_config.json")?);
        // As in transformers, the separate file takes precedence.
        if let Some(template) = optional(&folder.join("chat_template.jinja"))? {
            json.insert("chat_template".to_owned(), Value::String(template));
        }
        let config = Self { json };
        config.templates()?;
        Ok(config)
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// All of it, in the format of `tokenizer_config.json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.json.clone())
    }

    /// The text of the special token `name` (such as `eos_token`), where it is configured.
    #[must_use]
    pub fn token(&self, name: &str) -> Option<&str> {
        let value = self.json.get(name)?;
        // An added token is an object with its text in `content`.
        value.as_str().or_else(|| value.get("content")?.as_str())
    }

    /// The special tokens by the names that templates use.
    #[must_use]
    pub fn tokens(&self) -> BTreeMap<&'static str, String> {
        let found = |name: &'static str| Some((name, self.token(name)?.to_owned()));
        NAMES.into_iter().filter_map(found).collect()
    }

    /// The chat templates by name; a single one is called `default`.
    ///
    /// # Errors
    /// [`FailureCode::BaseModelInvalid`] when `chat_template` is neither a string nor a list of named templates.
    pub fn templates(&self) -> Result<BTreeMap<String, String>, Failure> {
        let named = |entry: &Value| {
            let (name, template) = (entry.get("name")?.as_str()?, entry.get("template")?.as_str()?);
            Some((name.to_owned(), template.to_owned()))
        };
        let found = match self.json.get("chat_template") {
            None | Some(Value::Null) => Some(BTreeMap::new()),
            Some(Value::String(source)) => Some(BTreeMap::from([("default".to_owned(), source.clone())])),
            Some(Value::Array(entries)) => entries.iter().map(named).collect(),
            Some(_) => None,
        };
        found.ok_or_else(|| {
            invalid("tokenizer_config.json: chat_template is neither a text nor a list of {name, template}")
        })
    }
}

fn optional(path: &Path) -> Result<Option<String>, Failure> {
    let bytes = crate::files::read_optional(path, FailureCode::BaseModelInvalid)?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| {
        let name = path.file_name().unwrap_or_default().display();
        invalid(format!("{name} is not text in UTF-8"))
    })
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureCode::BaseModelInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<TokenizerConfig, Failure> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).expect("written");
        }
        TokenizerConfig::read(dir.path())
    }

    #[test]
    fn tokens_are_texts_or_objects_and_templates_one_or_many() {
        let config = read(&[(
            "tokenizer_config.json",
            r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
                "chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}"#,
        )])
        .expect("config");
        let tokens: Vec<_> = config.tokens().into_iter().collect();
        assert_eq!(
            tokens,
            [("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())]
        );
        let templates = config.templates().expect("templates");
        assert_eq!(templates.get("tool_use").map(String::as_str), Some("b"));
        let own = read(&[
            ("tokenizer_config.json", r#"{"chat_template": "a"}"#),
            ("chat_template.jinja", "b"),
        ]);
        let own = own.expect("config").templates().expect("templates");
        assert_eq!(own.get("default").map(String::as_str), Some("b"));
        assert!(read(&[]).expect("config").is_empty());
    }

    #[test]
    fn files_of_another_form_are_refused_by_name() {
        for (name, content) in [
            ("tokenizer_config.json", "[]"),
            ("special_tokens_map.json", "{"),
            ("tokenizer_config.json", r#"{"chat_template": 3}"#),
            ("tokenizer_config.json", r#"{"chat_template": [{"name": "x"}]}"#),
        ] {
            let failure = read(&[(name, content)]).expect_err(content);
            assert!(failure.message.contains(name), "{failure}");
        }
    }
}
