//! Uploads: a stream of bytes becomes a validated, content-addressed object, or nothing (DS-1, DS-2).
//!
//! One rule: constant memory, and nothing left behind. Bytes are decompressed, hashed, checked line by line
//! and staged as they come; only a dataset in which every line can be used is published.

mod decode;
mod encoding;
mod error;
mod limits;
mod pass;
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
use pass::{Pass, Stage};
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

/// Takes an upload in.
///
/// Idempotent: the same bytes again give the same result and are stored once. When the future is dropped
/// (the sender has gone) or fails, what was staged is deleted. Only in the last moment, while a complete
/// and good dataset is being named, it may stay although the caller has gone: as an object that no version
/// refers to, which the next upload of the same bytes uses.
///
/// # Errors
/// See [`IngestError`]; each has a stable code, a sentence for people, and an HTTP status.
pub async fn ingest(
    reader: impl AsyncRead + Send,
    declared: Declared,
    limits: IngestLimits,
    objects: &Objects,
) -> Result<Ingested, IngestError> {
    let expected = declared
        .expected_sha256
        .as_deref()
        .map(expected_hash)
        .transpose()?;
    let seconds = limits.total.as_secs();
    let received = timeout(limits.total, receive(reader, &declared, &limits, objects));
    let (pass, wire, encoding) = received.await.map_err(|_| IngestError::Deadline { seconds })??;
    let Pass {
        hash,
        bytes,
        stage,
        staged,
        ..
    } = pass;
    let Stage::Checking(format, validator) = stage else {
        return Err(IngestError::Incomplete);
    };
    let (summary, staged) = match (validator.finish(), staged) {
        (Ok(summary), Some(staged)) => (summary, staged),
        (Ok(_), None) => return Err(IngestError::Incomplete),
        (Err(report), staged) => {
            give_up(staged).await;
            return Err(IngestError::BadLines(report));
        }
    };
    let sha256 = hex::encode(hash.finalize());
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        give_up(Some(staged)).await;
        return Err(IngestError::HashMismatch {
            expected,
            actual: sha256,
        });
    }
    let stored = staged.publish(&Key::dataset(&sha256)?, Existing::Keep).await?;
    Ok(Ingested {
        sha256,
        bytes,
        compressed_bytes: wire.bytes(),
        encoding,
        format,
        summary,
        stored,
    })
}

/// Reads the stream to its end.
async fn receive(
    reader: impl AsyncRead + Send,
    declared: &Declared,
    limits: &IngestLimits,
    objects: &Objects,
) -> Result<(Pass, Arc<Wire>, Encoding), IngestError> {
    let seconds = limits.idle.as_secs();
    let idle = || IngestError::Idle { seconds };
    let wire = Arc::new(Wire::new(limits.compressed_bytes));
    let opened = timeout(limits.idle, open(Box::pin(reader), declared, Arc::clone(&wire)));
    let (encoding, mut source) = opened.await.map_err(|_| idle())??;
    let mut pass = Pass::new(objects.stage().await?);
    match pump(&mut source, &mut pass, declared, limits, &wire, encoding).await {
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
    wire: &Wire,
    encoding: Encoding,
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
        pass.take(&buffer[..read], declared, limits).await?;
        limits.check(pass.bytes, wire.bytes())?;
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
