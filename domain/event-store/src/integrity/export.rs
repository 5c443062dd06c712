//! Exports of the log: files that prove themselves, with only the public key.
//!
//! The rule: every byte of an export is covered by a signature. `manifest.note` signs the SHA-256 of
//! `manifest.json`; that names size and SHA-256 of every other file, and ties the events to a signed
//! checkpoint of the whole log.
//!
//! | file | holds |
//! | --- | --- |
//! | `events-<first position>.jsonl` | one event per line, payload and metadata as strings, byte for byte |
//! | `leaves` | 32 bytes per event: its leaf hash, so that a changed event is named exactly |
//! | `manifest.json` | [`Manifest`] |
//! | `manifest.note` | a C2SP signed note: `anneal.export/v1`, the origin, base64 of the manifest's SHA-256 |

mod reader;
mod writer;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

pub use reader::{VerifiedExport, verify};
pub use writer::{Beginning, ExportWriter};

use super::{ChainedEvent, Digest, Fault, digest};

/// The manifest.
pub const MANIFEST: &str = "manifest.json";
/// The signature over it.
pub const SIGNATURE: &str = "manifest.note";
/// The leaf hashes.
pub const LEAVES: &str = "leaves";
/// The version of the format.
pub const FORMAT: u16 = 1;
/// The first line of the signed note: no checkpoint can be taken for it, nor it for one.
const NOTE: &str = "anneal.export/v1";

/// Why an export is refused, or was not made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An event is not what was recorded.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A file is not what was exported.
    #[error("{name}: {why}")]
    File {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// There is something already, and it is not overwritten.
    #[error("{0} exists; name a folder that does not")]
    Exists(std::path::PathBuf),
    /// The range holds nothing, or more than is signed.
    #[error("{0}")]
    Range(String),
    /// The file system.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// The file or folder.
        path: std::path::PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] domain::event_store::StoreError),
}

fn file(name: &str, why: impl Into<String>) -> ExportError {
    ExportError::File {
        name: name.to_owned(),
        why: why.into(),
    }
}

/// One file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// What an export holds, and what ties it to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u16,
    /// The log's id: its chain begins with it.
    pub store_id: Uuid,
    /// The log's name in checkpoints.
    pub origin: String,
    /// When the export was made.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    /// Position of the first event.
    pub from: u64,
    /// Position of the last event.
    pub to: u64,
    /// Files of events, in order.
    pub events: Vec<ExportedFile>,
    /// The file of leaf hashes.
    pub leaves: ExportedFile,
    /// Link of the event before the first one, hexadecimal.
    pub link_before: String,
    /// Link of the last event, hexadecimal.
    pub last_link: String,
    /// Roots of the perfect trees over the events before the first one, the largest first, base64: with the
    /// events, they give the root of the tree of `to` events.
    pub tree_before: Vec<String>,
    /// Proof that the tree of `to` events is the beginning of the checkpoint's (RFC 6962, 2.1.2), base64.
    pub consistency: Vec<String>,
    /// A signed checkpoint that covers everything.
    pub checkpoint: String,
}

/// What is signed for a manifest of these bytes.
fn signed_text(origin: &str, manifest: &[u8]) -> String {
    format!("{NOTE}\n{origin}\n{}\n", STANDARD.encode(digest(manifest)))
}

/// Name of the file of events that begins at this position.
fn events_file(first: u64) -> String {
    format!("events-{first:020}.jsonl")
}

/// One line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line<'a> {
    position: u64,
    id: Uuid,
    stream: std::borrow::Cow<'a, str>,
    revision: u64,
    kind: std::borrow::Cow<'a, str>,
    schema_version: u16,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    data: std::borrow::Cow<'a, str>,
    meta: std::borrow::Cow<'a, str>,
    link: String,
}

impl<'a> From<&'a ChainedEvent> for Line<'a> {
    fn from(event: &'a ChainedEvent) -> Self {
        Self {
            position: event.position,
            id: event.id,
            stream: (&event.stream).into(),
            revision: event.revision,
            kind: (&event.kind).into(),
            schema_version: event.schema_version,
            at: event.at,
            data: (&event.data).into(),
            meta: (&event.meta).into(),
            link: hex(&event.hash),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Digest> {
    let bytes = text.as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = bytes.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn hashes(texts: &[String]) -> Option<Vec<Digest>> {
    let decode = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
    texts.iter().map(decode).collect()
}

#[cfg(test)]
mod tests;
