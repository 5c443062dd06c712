//! What a validation found: the counts of a good dataset, the problems of a bad one.
//!
//! One rule: neither grows with the dataset. Samples and problems shown are cut by `Limits`.

use serde::{Deserialize, Serialize};

use crate::payload::Leaves;

/// Counts and a preview of a dataset in which every line can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Summary {
    /// Samples, as `Format` defines them.
    pub samples: u64,
    /// Lines, blank ones included.
    pub lines: u64,
    /// Bytes of the whole file, decompressed.
    pub bytes: u64,
    /// Unicode characters of the samples' text; line ends, JSON and role names do not count.
    pub characters: u64,
    /// The samples' text in UTF-8 bytes divided by four, rounded: what byte-level BPE tokenizers come to on
    /// English prose. The exact number depends on the model's tokenizer.
    pub token_estimate: u64,
    /// Samples with keys that training does not read.
    pub samples_with_other_keys: u64,
    /// The first samples, each cut to a few hundred characters.
    #[plain]
    pub preview: Vec<String>,
}

/// Why a line, or the whole file, cannot be used. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemCode {
    /// Bytes that are no UTF-8.
    InvalidUtf8,
    /// The file begins with the mark of UTF-16; nothing after it was read.
    Utf16,
    /// A NUL, as a byte or as `\u0000`.
    Nul,
    /// A line longer than the limit.
    LineTooLong,
    /// Not a JSON document.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// No `messages`, or not a list, or an empty one.
    Messages,
    /// A message that is no object with `role` and `content`.
    Message,
    /// A role other than system, user, assistant.
    Role,
    /// A key that the format needs is missing or no text.
    Field,
    /// A message whose content is empty or blank.
    EmptyContent,
    /// Roles in an order that cannot be learnt from.
    RoleOrder,
    /// Nothing to learn from in the whole file.
    NoSamples,
}

impl ProblemCode {
    /// The stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Utf16 => "utf16",
            Self::Nul => "nul",
            Self::LineTooLong => "line_too_long",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::Messages => "messages",
            Self::Message => "message",
            Self::Role => "role",
            Self::Field => "field",
            Self::EmptyContent => "empty_content",
            Self::RoleOrder => "role_order",
            Self::NoSamples => "no_samples",
        }
    }
}

/// One line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The line, from 1; `None` where the whole file is meant.
    pub line: Option<u64>,
    /// Why, for programs.
    pub code: ProblemCode,
    /// Why and what to do, for people. It quotes at most a few characters of the line.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Every line that cannot be used: the first ones with their reasons, then a count. A line stands in it once,
/// with the first reason found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.headline())]
pub struct Report {
    /// The first problems, by line.
    pub problems: Vec<Problem>,
    /// All problems, those not listed included.
    pub total: u64,
    /// Lines read.
    pub lines: u64,
}

impl Report {
    /// Problems that are counted but not listed.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.total.saturating_sub(self.problems.len() as u64)
    }

    fn headline(&self) -> String {
        let Some(first) = self.problems.first() else {
            return format!("{} problems in {} lines", self.total, self.lines);
        };
        match self.total {
            0 | 1 => format!("the dataset cannot be used: {first}"),
            total => {
                format!(
                    "{total} of {} lines cannot be used; nothing was kept; the first: {first}",
                    self.lines
                )
            }
        }
    }
}
