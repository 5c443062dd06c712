//! What a dataset's bytes may be, and the check of each of its lines (DS-1).
//!
//! One rule: no line is ever skipped in silence. What cannot be used is named by its number, a stable code
//! and a sentence that says what to do; bytes come in as a stream, and no more than one line is held.

mod chat;
mod keyed;
mod report;
#[cfg(test)]
mod tests;
mod validator;

use serde::{Deserialize, Serialize};

use crate::payload::Leaves;

pub use report::{Problem, ProblemCode, Report, Summary};
pub use validator::Validator;

/// What a dataset's bytes are. The list grows: match on it with a fall-back arm outside this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// UTF-8 text. A sample is a paragraph (lines up to a blank one); where no blank line stands between
    /// two lines of the whole text, a sample is a line.
    PlainText,
    /// JSON Lines: on each line an object with `messages`, a list of `{"role", "content"}`. A sample is a
    /// line; blank lines are passed over.
    Chat,
    /// JSON Lines: on each line an object with `prompt` and `completion`. Blank lines are passed over.
    PromptCompletion,
    /// JSON Lines: on each line an object with `instruction`, `output` and perhaps `input`. Blank lines are
    /// passed over.
    Alpaca,
    /// JSON Lines: on each line an object with `conversations`, a list of `{"from", "value"}`. Blank lines are
    /// passed over.
    #[serde(rename = "sharegpt")]
    ShareGpt,
}

impl Format {
    /// Every format, in the order in which help texts list them.
    pub const ALL: [Self; 5] = [
        Self::PlainText,
        Self::Chat,
        Self::PromptCompletion,
        Self::Alpaca,
        Self::ShareGpt,
    ];

    /// The name in configuration, in URLs and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlainText => "plain_text",
            Self::Chat => "chat",
            Self::PromptCompletion => "prompt_completion",
            Self::Alpaca => "alpaca",
            Self::ShareGpt => "sharegpt",
        }
    }

    /// Guesses from the file's name and from its first bytes, which may be cut anywhere (64 KiB suffice).
    /// A `.gz` or `.zst` at the end of the name is passed over; the bytes are the decompressed ones. A name
    /// that says text or JSON Lines decides; otherwise text whose first character is `{` is JSON Lines. Of those,
    /// the keys of the first line tell the format; it is chat where they do not.
    ///
    /// # Errors
    /// Names and contents of formats that are not (yet) read here: CSV, Parquet, archives and so on.
    pub fn detect(file_name: &str, head: &[u8]) -> Result<Self, UnknownFormat> {
        if let Some(what) = foreign_content(head) {
            return Err(UnknownFormat {
                what: what.to_owned(),
            });
        }
        let name = file_name.to_ascii_lowercase();
        let name = name
            .strip_suffix(".gz")
            .or_else(|| name.strip_suffix(".zst"))
            .unwrap_or(&name);
        let text = head.strip_prefix(UTF8_MARK).unwrap_or(head).trim_ascii_start();
        match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "txt" | "text" | "md" => Ok(Self::PlainText),
            "jsonl" | "ndjson" => Ok(of_keys(text)),
            "json" if text.starts_with(b"[") => Err(UnknownFormat {
                what: "one JSON array; write one object per line (jq -c '.[]')".to_owned(),
            }),
            extension @ ("csv" | "tsv" | "parquet" | "arrow" | "xlsx" | "pdf" | "docx" | "zip" | "tar"
            | "tgz") => Err(UnknownFormat {
                what: format!("a .{extension} file"),
            }),
            _ if text.starts_with(b"{") => Ok(of_keys(text)),
            _ => Ok(Self::PlainText),
        }
    }
}

/// Which JSON Lines they are, by the keys of the first line where it is whole.
fn of_keys(text: &[u8]) -> Format {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let has = |keys: &[&str]| match serde_json::from_slice(line) {
        Ok(serde_json::Value::Object(object)) => keys.iter().all(|key| object.contains_key(*key)),
        _ => false,
    };
    match () {
        () if has(&["messages"]) => Format::Chat,
        () if has(&["prompt", "completion"]) => Format::PromptCompletion,
        () if has(&["instruction", "output"]) => Format::Alpaca,
        () if has(&["conversations"]) => Format::ShareGpt,
        () => Format::Chat,
    }
}

/// The byte order mark that some editors put before UTF-8; it is no part of the first line.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Says what `head` is when it is a known format that is no text.
fn foreign_content(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 8] = [
        (b"PK\x03\x04", "a ZIP archive or an Office document"),
        (b"PAR1", "a Parquet file"),
        (b"\x1f\x8b", "compressed twice; compress it once"),
        (b"\x28\xb5\x2f\xfd", "compressed twice; compress it once"),
        (b"BZh", "compressed by bzip2; use gzip or zstd"),
        (b"\xfd7zXZ", "compressed by xz; use gzip or zstd"),
        (b"%PDF-", "a PDF document"),
        (b"7z\xbc\xaf", "a 7-Zip archive"),
    ];
    KNOWN
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, what)| *what)
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormat {
                what: format!("named '{}'", text.chars().take(64).collect::<String>()),
            })
    }
}

/// A format that is not read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the dataset is {what}; supported formats are plain_text (UTF-8) and JSON Lines: chat ('messages'), \
     prompt_completion ('prompt', 'completion'), alpaca ('instruction', 'output') and sharegpt \
     ('conversations'); each also as .gz or .zst"
)]
pub struct UnknownFormat {
    what: String,
}

/// How much a validation holds and tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line in bytes, without its line end.
    pub line_bytes: usize,
    /// Problems named one by one; the rest is counted.
    pub problems: usize,
    /// Samples shown in the preview.
    pub preview_samples: usize,
    /// Characters of each sample in the preview.
    pub preview_characters: usize,
}

impl Default for Limits {
    /// Lines of 1 MiB, 100 problems, 3 samples of 200 characters.
    fn default() -> Self {
        Self {
            line_bytes: 1 << 20,
            problems: 100,
            preview_samples: 3,
            preview_characters: 200,
        }
    }
}
