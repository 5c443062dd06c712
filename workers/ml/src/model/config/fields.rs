//! Readers of the fields of a JSON object, which collect all problems.
//!
//! Rule: a field that is absent or `null` has the default of Hugging Face's class; a setting that is not supported is
//! a problem, reported with the supported values.

use serde_json::{Map, Value};

use crate::failure::{Failure, FailureCode};

/// The fields of a JSON object, and the problems found in them.
#[derive(Debug)]
pub(crate) struct JsonFields<'a> {
    json: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> JsonFields<'a> {
    /// The fields of `json`.
    pub(crate) fn new(json: &'a Map<String, Value>) -> Self {
        Self {
            json,
            problems: Vec::new(),
        }
    }

    /// The value of `name`, unless it is absent or `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.json.get(name).filter(|value| !value.is_null())
    }

    /// Whether `name` is present, even as `null`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.json.contains_key(name)
    }

    /// Adds a problem.
    pub(crate) fn reject(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// An integer from 1 to `high`; `default` where it is absent, or a problem where there is no default.
    pub(crate) fn integer(&mut self, name: &str, default: Option<usize>, high: u64) -> usize {
        match self.optional_integer(name, high) {
            Some(value) => value,
            None => default.unwrap_or_else(|| {
                if self.get(name).is_none() {
                    self.reject(format!("{name} is missing; expected 1 to {high}"));
                }
                1
            }),
        }
    }

    /// An integer from 1 to `high`, where it is present.
    pub(crate) fn optional_integer(&mut self, name: &str, high: u64) -> Option<usize> {
        let value = self.get(name)?;
        let number = value.as_u64().filter(|number| (1..=high).contains(number));
        if number.is_none() {
            self.reject(format!("{name} is {value}; expected 1 to {high}"));
        }
        number.and_then(|number| usize::try_from(number).ok())
    }

    /// A number from `low` to `high`, where it is present.
    pub(crate) fn float(&mut self, name: &str, low: f64, high: f64) -> Option<f64> {
        let value = self.get(name)?;
        let number = value.as_f64().filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.reject(format!("{name} is {value}; expected {low} to {high}"));
        }
        number
    }

    /// A boolean.
    pub(crate) fn boolean(&mut self, name: &str, default: bool) -> bool {
        match self.get(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.reject(format!("{name} is {other}; expected true or false"));
                default
            }
        }
    }

    /// Requires that `name` is absent or one of `computed`.
    pub(crate) fn require_supported(&mut self, name: &str, computed: &[Value]) {
        if let Some(value) = self.get(name)
            && !computed.contains(value)
        {
            let known: Vec<String> = computed.iter().map(Value::to_string).collect();
            self.reject(format!(
                "{name} = {value} is not supported, only {}",
                known.join(" or ")
            ));
        }
    }

    /// A token ID or a list of them, each below `vocab_size`; empty where it is absent.
    pub(crate) fn token_ids(&mut self, name: &str, vocab_size: usize) -> Vec<u32> {
        let Some(value) = self.get(name) else {
            return Vec::new();
        };
        let windows_from_layer_types = match value {
            Value::Array(ids) => ids.iter().collect(),
            single => vec![single],
        };
        let id = |value: &Value| {
            let id = value.as_u64().filter(|id| *id < vocab_size as u64)?;
            u32::try_from(id).ok()
        };
        let ids: Option<Vec<u32>> = windows_from_layer_types.into_iter().map(id).collect();
        ids.unwrap_or_else(|| {
            self.reject(format!(
                "{name} is {value}; expected tokens of a vocabulary of {vocab_size}"
            ));
            Vec::new()
        })
    }

    /// Rejects quantized weights.
    pub(crate) fn reject_quantization(&mut self) {
        if let Some(Value::Object(quantized)) = self.get("quantization_config") {
            let method = quantized.get("quant_method").unwrap_or(&Value::Null);
            self.reject(format!(
                "quantization_config ({method}) is not supported; choose the model in f32, f16 or bf16"
            ));
        }
    }

    /// Fails with all problems, in a message that begins with `place`.
    pub(crate) fn finish(self, place: &str) -> Result<(), Failure> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(invalid(format!("{place}: {}", self.problems.join("; "))))
    }
}

/// The failure of a base model, for `reason`.
pub(crate) fn invalid(reason: impl Into<String>) -> Failure {
    Failure::new(FailureCode::BaseModelInvalid, reason)
}
