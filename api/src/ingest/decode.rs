//! From bytes on the wire to decompressed bytes.
//!
//! One rule: the content says how it is compressed; names and headers can only contradict it.

use std::{io::Cursor, sync::Arc};

use async_compression::{
    tokio::bufread::{GzipDecoder, ZstdDecoder},
    zstd::DParameter,
};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::{
    Declared, IngestError,
    encoding::Encoding,
    wire::{Metered, Wire},
};

/// Window that a Zstandard frame may ask for, as a power of two: the 8 MiB that every decoder should grant
/// (RFC 8878, 3.1.1.1.2), and that bounds what one upload costs in memory.
const ZSTD_WINDOW: u32 = 23;

/// The decompressed bytes of `reader`, whatever they are compressed with.
pub(super) async fn open<'a>(
    reader: impl AsyncRead + Send + Unpin + 'a,
    declared: &Declared,
    wire: Arc<Wire>,
) -> Result<(Encoding, Box<dyn AsyncRead + Send + Unpin + 'a>), IngestError> {
    let mut metered = Metered::new(reader, wire);
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
