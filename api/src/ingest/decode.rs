//! From bytes on the wire to decompressed bytes.
//!
//! One rule: the content says how it is compressed; names and headers can only contradict it.

use std::{
    io::{self, Cursor},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_compression::{
    tokio::bufread::{GzipDecoder, ZstdDecoder},
    zstd::DParameter,
};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadBuf};

use super::{Declared, IngestError};

/// Window that a Zstandard frame may ask for, as a power of two: the 8 MiB that every decoder should grant
/// (RFC 8878, 3.1.1.1.2), and that bounds what one upload costs in memory.
const ZSTD_WINDOW: u32 = 23;

/// How an upload was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952), any number of members.
    Gzip,
    /// Zstandard (RFC 8878), any number of frames. A frame without a checksum can hide damage; the expected
    /// SHA-256 finds it.
    Zstd,
}

impl Encoding {
    /// The name, as in `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Tells it from the first four bytes.
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            // A frame, or a skippable one before it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Identity,
        }
    }
}

/// Counts what comes in.
#[derive(Debug)]
pub(super) struct Wire {
    bytes: AtomicU64,
    limit: u64,
}

impl Wire {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            limit,
        }
    }

    /// Bytes that came in so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The sender's stream failed, as opposed to the decoder.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SenderFailed(String);

/// More came in than may.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes came in")]
pub(super) struct WireFull {
    /// How many may.
    pub(super) limit: u64,
}

/// Passes bytes on, counts them, and marks errors as the sender's.
struct Metered<R> {
    inner: R,
    wire: Arc<Wire>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, out))
            .map_err(|error| io::Error::other(SenderFailed(error.to_string())))?;
        let read = (out.filled().len() - before) as u64;
        let total = this.wire.bytes.fetch_add(read, Ordering::Relaxed) + read;
        if total > this.wire.limit {
            return Poll::Ready(Err(io::Error::other(WireFull {
                limit: this.wire.limit,
            })));
        }
        Poll::Ready(Ok(()))
    }
}

/// The decompressed bytes of `reader`, whatever they are compressed with.
pub(super) async fn open<'a>(
    reader: impl AsyncRead + Send + Unpin + 'a,
    declared: &Declared,
    wire: Arc<Wire>,
) -> Result<(Encoding, Box<dyn AsyncRead + Send + Unpin + 'a>), IngestError> {
    let mut metered = Metered { inner: reader, wire };
    let mut head = Vec::with_capacity(4);
    let peeked = (&mut metered).take(4).read_to_end(&mut head).await;
    peeked.map_err(|error| IngestError::from_read(&error, Encoding::Identity))?;
    let encoding = Encoding::of(&head);
    agree(declared, encoding)?;
    let whole = BufReader::with_capacity(64 << 10, Cursor::new(head).chain(metered));
    let source: Box<dyn AsyncRead + Send + Unpin + 'a> = match encoding {
        Encoding::Identity => Box::new(whole),
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(whole);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Encoding::Zstd => {
            let mut decoder = ZstdDecoder::with_params(whole, &[DParameter::window_log_max(ZSTD_WINDOW)]);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
    };
    Ok((encoding, source))
}

/// Refuses a declared encoding that is unknown here or contradicts the content.
fn agree(declared: &Declared, found: Encoding) -> Result<(), IngestError> {
    let Some(name) = declared.content_encoding.as_deref() else {
        return Ok(());
    };
    let wanted = match name.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => return Ok(()),
        "gzip" | "x-gzip" => Encoding::Gzip,
        "zstd" => Encoding::Zstd,
        _ => {
            return Err(IngestError::UnsupportedEncoding {
                name: name.chars().take(64).collect(),
            });
        }
    };
    if wanted == found {
        return Ok(());
    }
    let detail = format!(
        "the content is not {0}, but Content-Encoding says so",
        wanted.name()
    );
    Err(IngestError::Corrupt {
        encoding: wanted.name(),
        detail,
    })
}
