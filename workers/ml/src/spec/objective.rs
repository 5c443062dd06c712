//! What of a dataset is learnt, and how conversations are written as text.
//!
//! Rule: the format of a dataset says what its samples are (text, conversations, prompts with completions); the
//! objective says which of their tokens count.

use serde::{Deserialize, Serialize};

use super::is_default;

/// What is learnt of the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// Which tokens of a conversation or of a prompt with its completion are learnt; of text it is always
    /// every one. Default answers.
    #[serde(skip_serializing_if = "is_default")]
    pub learn: Learn,
    /// How a conversation is written as text. Default plain.
    #[serde(skip_serializing_if = "is_default")]
    pub chat_template: ChatTemplate,
}

/// Which tokens are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// What the assistant says (the completion), and where it ends.
    #[default]
    Answers,
    /// Of a conversation the last answer only.
    LastAnswer,
    /// Every token: causal language modelling over the whole sample.
    Everything,
}

/// How a conversation is written as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatTemplate {
    /// The fixed one of [`crate::data::chat`], which works with every tokenizer.
    #[default]
    Plain,
    /// The base model's own; the plain one where it has none.
    Model,
    /// One of the base model's several, by its name; refused where the model has none of that name.
    Named(String),
    /// This one: Jinja as `transformers` reads it, at most 64 KiB.
    Custom(String),
}
