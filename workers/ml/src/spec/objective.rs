//! Which tokens are trained on, and how conversations are formatted as text.
//!
//! Rule: the format of a dataset defines its samples (text, conversations, prompts with completions); the objective
//! selects which of their tokens contribute to the loss.

use serde::{Deserialize, Serialize};

use super::is_default;

/// Which tokens are trained on, and how conversations are formatted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// Which tokens of conversations and of prompts with completions contribute to the loss; all tokens of text do.
    /// Default answers.
    #[serde(skip_serializing_if = "is_default")]
    pub learn: Learn,
    /// Template that formats conversations as text. Default plain.
    #[serde(skip_serializing_if = "is_default")]
    pub chat_template: ChatTemplate,
}

/// Which tokens contribute to the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// The assistant's answers (or the completion) and the tokens that end them.
    #[default]
    Answers,
    /// The last answer of a conversation.
    LastAnswer,
    /// Every token: causal language modelling of the whole sample.
    Everything,
}

/// Template that formats conversations as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatTemplate {
    /// The fixed template of [`crate::data::chat`], which works with every tokenizer.
    #[default]
    Plain,
    /// The base model's template; the plain one where it has none.
    Model,
    /// One of the base model's named templates; rejected where it does not exist.
    Named(String),
    /// This Jinja template, in the dialect of `transformers`, at most 64 KiB.
    Custom(String),
}
