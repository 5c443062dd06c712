//! Uploads: a stream of bytes becomes a validated, content-addressed object, or nothing (DS-1, DS-2).
//!
//! One rule: constant memory, and nothing left behind. Bytes are decompressed, hashed, checked line by line
//! and staged as they come; only a dataset in which every line can be used is published.

mod decode;
mod encoding;
mod error;
mod limits;
mod pass;
mod room;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use domain::datasets::format::{Format, Summary};
use sha2::Digest;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use objects::{Existing, Key, Objects, Staged, Stored};

use decode::open;
pub use encoding::Encoding;
pub use error::IngestError;
pub use limits::IngestLimits;
use pass::Pass;
use room::Reserved;
pub use room::{LASTS, NoRoom, Room};
use wire::Wire;

/// How many bytes are read at once.
const BUFFER: usize = 64 << 10;

/// What the sender says about the bytes.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The file's name. Its ending helps to tell the format; it is never a path here.
    pub file_name: String,
    /// The `Content-Encoding` of the request (RFC 9110, 8.4), if any. Compression is recognised by the
    /// content; what is declared must agree.
    pub content_encoding: Option<String>,
    /// The format, or `None` to tell it from name and content.
    pub format: Option<Format>,
    /// SHA-256 of the decompressed bytes in hexadecimal, to be proved.
    pub expected_sha256: Option<String>,
    /// Bytes that will come, as they come in (RFC 9110, 8.6), if the sender says so.
    pub length: Option<u64>,
}

/// A dataset that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// SHA-256 of the decompressed bytes in lower-case hexadecimal: their address in the object store.
    pub sha256: String,
    /// Decompressed bytes.
    pub bytes: u64,
    /// Bytes that came in.
    pub compressed_bytes: u64,
    /// How they were compressed.
    pub encoding: Encoding,
    /// What they are.
    pub format: Format,
    /// Counts of the validation.
    pub summary: Summary,
    /// Whether the same bytes were stored before or are new.
    pub stored: Stored,
}

/// A dataset that is whole and good, in staging: dropped, it leaves nothing.
#[derive(Debug)]
pub struct Checked {
    staged: Staged,
    ingested: Ingested,
}

impl Checked {
    /// Names it. Runs to its end also when the caller is dropped: an object that no version refers to may then stay,
    /// which the next upload of the same bytes uses and the collector takes.
    ///
    /// # Errors
    /// When the object store fails; nothing is left.
    pub async fn publish(self) -> Result<Ingested, IngestError> {
        let Self { staged, ingested } = self;
        let key = Key::dataset(&ingested.sha256)?;
        let stored = staged.publish(&key, Existing::Keep).await?;
        Ok(Ingested { stored, ..ingested })
    }
}

/// Takes an upload in, up to its name.
///
/// When the future is dropped (the sender has gone) or fails, what was staged is deleted. `room` is asked before bytes
/// are kept, and once more for exactly all of them at the end, with their hash.
///
/// # Errors
/// See [`IngestError`]; each has a stable code, a sentence for people, and an HTTP status.
pub async fn ingest(
    reader: impl AsyncRead + Send,
    declared: Declared,
    limits: IngestLimits,
    objects: &Objects,
    room: &mut dyn Room,
) -> Result<Checked, IngestError> {
    let expected = declared
        .expected_sha256
        .as_deref()
        .map(expected_hash)
        .transpose()?;
    let mut room = Reserved::none(room, expected.clone());
    let seconds = limits.total.as_secs();
    let received = timeout(
        limits.total,
        receive(reader, &declared, &limits, objects, &mut room),
    );
    let (mut pass, wire, encoding) = received.await.map_err(|_| IngestError::Deadline { seconds })??;
    let Some(staged) = pass.staged.take() else {
        return Err(pass.checked().err().unwrap_or(IngestError::Incomplete));
    };
    match judge(pass, expected, &mut room).await {
        Ok((sha256, bytes, format, summary)) => Ok(Checked {
            staged,
            ingested: Ingested {
                sha256,
                bytes,
                compressed_bytes: wire.bytes(),
                encoding,
                format,
                summary,
                stored: Stored::New,
            },
        }),
        Err(error) => {
            give_up(Some(staged)).await;
            Err(error)
        }
    }
}

/// Whether what was read to its end is good, is what the sender meant, and has room.
async fn judge(
    pass: Pass,
    expected: Option<String>,
    room: &mut Reserved<'_>,
) -> Result<(String, u64, Format, Summary), IngestError> {
    let (bytes, sha256) = (pass.bytes, hex::encode(pass.hash.clone().finalize()));
    let (format, summary) = pass.checked()?;
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        let actual = sha256;
        return Err(IngestError::HashMismatch { expected, actual });
    }
    room.settle(bytes, &sha256).await?;
    Ok((sha256, bytes, format, summary))
}

/// Reads the stream to its end.
async fn receive(
    reader: impl AsyncRead + Send,
    declared: &Declared,
    limits: &IngestLimits,
    objects: &Objects,
    room: &mut Reserved<'_>,
) -> Result<(Pass, Arc<Wire>, Encoding), IngestError> {
    let seconds = limits.idle.as_secs();
    let idle = || IngestError::Idle { seconds };
    let wire = Arc::new(Wire::new(limits.compressed_bytes));
    // Before a byte is read: a sender that waits for leave to go on (RFC 9110, 10.1.1) sends nothing.
    if let Some(length) = declared.length {
        room.declared(length, limits).await?;
    }
    let opened = timeout(limits.idle, open(Box::pin(reader), declared, Arc::clone(&wire)));
    let (encoding, mut source) = opened.await.map_err(|_| idle())??;
    let mut pass = Pass::new(objects.stage().await?);
    match pump(&mut source, &mut pass, declared, limits, (&wire, encoding), room).await {
        Ok(()) => Ok((pass, wire, encoding)),
        Err(error) => {
            give_up(pass.staged.take()).await;
            Err(error)
        }
    }
}

async fn pump(
    source: &mut (dyn AsyncRead + Send + Unpin),
    pass: &mut Pass,
    declared: &Declared,
    limits: &IngestLimits,
    (wire, encoding): (&Wire, Encoding),
    room: &mut Reserved<'_>,
) -> Result<(), IngestError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = timeout(limits.idle, source.read(&mut buffer)).await;
        let read = read.map_err(|_| IngestError::Idle {
            seconds: limits.idle.as_secs(),
        })?;
        let read = read.map_err(|error| IngestError::from_read(&error, encoding))?;
        if read == 0 {
            return pass.begin_checking(declared, limits);
        }
        let total = pass.bytes + read as u64;
        limits.check(total, wire.bytes())?;
        // What cannot be used is read on for its report, and not kept.
        if pass.staged.is_some() {
            room.grow(total).await?;
        }
        pass.take(&buffer[..read], declared, limits).await?;
        // A reader that is always ready would otherwise never let other tasks of this thread run.
        tokio::task::consume_budget().await;
    }
}

/// Deletes what was staged. The error that led here matters more than one of the clean-up, which the sweep
/// at the next start repeats.
async fn give_up(staged: Option<Staged>) {
    if let Some(staged) = staged
        && let Err(error) = staged.abort().await
    {
        tracing::warn!(%error, "a refused upload is left in staging until the next start");
    }
}

fn expected_hash(text: &str) -> Result<String, IngestError> {
    let text = text.trim().to_ascii_lowercase();
    Key::dataset(&text).map_err(|_| IngestError::ExpectedHash)?;
    Ok(text)
}
