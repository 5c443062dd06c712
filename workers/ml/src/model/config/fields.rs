//! Reading the fields of a JSON object, with every problem of it in one message.
//!
//! Rule: a field that is absent or `null` has the default of Hugging Face's class; a field that would change what
//! is computed in a way this engine does not know is a problem, named with what would be right.

use serde_json::{Map, Value};

use super::invalid;
use crate::failure::Failure;

/// The fields of one object of a file, and what was found wrong with them.
#[derive(Debug)]
pub(in crate::model) struct Fields<'a> {
    json: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Nothing is wrong yet.
    pub(in crate::model) fn new(json: &'a Map<String, Value>) -> Self {
        Self {
            json,
            problems: Vec::new(),
        }
    }

    /// The value of `name`, where there is one.
    pub(in crate::model) fn get(&self, name: &str) -> Option<&'a Value> {
        self.json.get(name).filter(|value| !value.is_null())
    }

    /// Whether `name` is there, be it as `null`.
    pub(in crate::model) fn names(&self, name: &str) -> bool {
        self.json.contains_key(name)
    }

    /// Adds a problem.
    pub(in crate::model) fn refuse(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// A whole number from 1 to `high`; `default` where it is absent, and a problem where there is no default.
    pub(in crate::model) fn whole(&mut self, name: &str, default: Option<usize>, high: u64) -> usize {
        match self.optional(name, high) {
            Some(value) => value,
            None => default.unwrap_or_else(|| {
                if self.get(name).is_none() {
                    self.refuse(format!("{name} is missing; expected 1 to {high}"));
                }
                1
            }),
        }
    }

    /// A whole number from 1 to `high`, where there is one.
    pub(in crate::model) fn optional(&mut self, name: &str, high: u64) -> Option<usize> {
        let value = self.get(name)?;
        let number = value.as_u64().filter(|number| (1..=high).contains(number));
        if number.is_none() {
            self.refuse(format!("{name} is {value}; expected 1 to {high}"));
        }
        number.and_then(|number| usize::try_from(number).ok())
    }

    /// A number from `low` to `high`, where there is one.
    pub(in crate::model) fn real(&mut self, name: &str, low: f64, high: f64) -> Option<f64> {
        let value = self.get(name)?;
        let number = value.as_f64().filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.refuse(format!("{name} is {value}; expected {low} to {high}"));
        }
        number
    }

    /// True or false.
    pub(in crate::model) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.get(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.refuse(format!("{name} is {other}; expected true or false"));
                default
            }
        }
    }

    /// Demands that `name` is absent or one of `computed`.
    pub(in crate::model) fn only(&mut self, name: &str, computed: &[Value]) {
        if let Some(value) = self.get(name)
            && !computed.contains(value)
        {
            let known: Vec<String> = computed.iter().map(Value::to_string).collect();
            self.refuse(format!(
                "{name} = {value} is not supported, only {}",
                known.join(" or ")
            ));
        }
    }

    /// A token's id or a list of them, each below `vocab_size`; empty where there is none.
    pub(in crate::model) fn tokens(&mut self, name: &str, vocab_size: usize) -> Vec<u32> {
        let Some(value) = self.get(name) else {
            return Vec::new();
        };
        let listed = match value {
            Value::Array(ids) => ids.iter().collect(),
            single => vec![single],
        };
        let id = |value: &Value| {
            let id = value.as_u64().filter(|id| *id < vocab_size as u64)?;
            u32::try_from(id).ok()
        };
        let ids: Option<Vec<u32>> = listed.into_iter().map(id).collect();
        ids.unwrap_or_else(|| {
            self.refuse(format!(
                "{name} is {value}; expected tokens of a vocabulary of {vocab_size}"
            ));
            Vec::new()
        })
    }

    /// All problems in one refusal that begins with `place`.
    pub(in crate::model) fn finish(self, place: &str) -> Result<(), Failure> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(invalid(format!("{place}: {}", self.problems.join("; "))))
    }
}
