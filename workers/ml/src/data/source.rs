//! Dataset files.
//!
//! Rule: a file is read completely or rejected with the position of its first error.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    chat::{self, Chat},
    formats::{self, Pair},
};
use crate::failure::{Failure, FailureCode};

/// How large a dataset may be is decided where it is uploaded; memory is checked before a training.
const ANY_SIZE: u64 = u64::MAX;

/// A dataset file and its format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Format of the file.
    pub format: DatasetFormat,
}

/// Format of a dataset file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// Plain text in UTF-8.
    Text,
    /// One conversation per line: `{"messages": [{"role": …, "content": …}, …]}`; empty lines are skipped.
    Chat,
    /// One prompt with what follows it per line: `{"prompt": …, "completion": …}`; empty lines are skipped.
    PromptCompletion,
    /// One instruction per line: `{"instruction": …, "input": …, "output": …}`; empty lines are skipped.
    Alpaca,
    /// One conversation per line: `{"conversations": [{"from": "human", "value": …}, …]}`; empty lines are
    /// skipped.
    Sharegpt,
}

/// The content of a dataset file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A text.
    Text(String),
    /// Conversations.
    Chat(Vec<Chat>),
    /// Prompts with completions.
    Pairs(Vec<Pair>),
}

impl Source {
    /// Reads `file`; also returns the SHA-256 of its bytes.
    ///
    /// # Errors
    /// [`FailureCode::DatasetUnreadable`] when it is missing, not UTF-8, or a line is not in the format.
    pub fn read(file: &DatasetFile) -> Result<(Self, String), Failure> {
        let code = FailureCode::DatasetUnreadable;
        let bytes = crate::files::read_up_to(&file.path, ANY_SIZE, code)?;
        let hash = crate::files::sha256(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| {
            let byte = error.utf8_error().valid_up_to();
            Failure::new(
                code,
                format!("{} is not UTF-8 at byte {byte}; convert it", name(&file.path)),
            )
        })?;
        let source = match file.format {
            DatasetFormat::Text => Self::Text(text),
            DatasetFormat::Chat => Self::Chat(read_lines(&text, &file.path, chat::parse)?),
            DatasetFormat::PromptCompletion => Self::Pairs(read_lines(&text, &file.path, formats::pair)?),
            DatasetFormat::Alpaca => Self::Chat(read_lines(&text, &file.path, formats::alpaca)?),
            DatasetFormat::Sharegpt => Self::Chat(read_lines(&text, &file.path, formats::sharegpt)?),
        };
        Ok((source, hash))
    }

    /// All of its text, for training a tokenizer.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::Chat(chats) => chats.iter().map(chat::render).collect(),
            Self::Pairs(pairs) => pairs
                .iter()
                .map(|pair| format!("{}{}", pair.prompt, pair.completion))
                .collect(),
        }
    }
}

fn read_lines<T>(
    text: &str,
    path: &Path,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let parse = |(index, line): (usize, &str)| {
        parse(line).map_err(|reason| {
            let place = format!("{}, line {}", name(path), index + 1);
            Failure::new(FailureCode::DatasetUnreadable, format!("{place}: {reason}"))
        })
    };
    lines.map(parse).collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], format: DatasetFormat) -> Result<(Source, String), Failure> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("data.jsonl");
        std::fs::write(&path, content).expect("written");
        Source::read(&DatasetFile { path, format })
    }

    #[test]
    fn faults_are_refused_with_their_place() {
        let broken = read(b"fine\xff", DatasetFormat::Text).expect_err("refused");
        assert!(broken.message.contains("byte 4"), "{broken}");
        let good = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        let chat = read(format!("{good}\n\n{{}}\n").as_bytes(), DatasetFormat::Chat).expect_err("refused");
        assert_eq!(chat.code, FailureCode::DatasetUnreadable);
        assert!(chat.message.contains("line 3"), "{chat}");
    }
}
