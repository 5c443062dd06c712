//! How much an upload may cost.
//!
//! One rule: every limit is checked while bytes pass, never at the end.

use std::time::Duration;

use domain::datasets::format::Limits;

use super::IngestError;

/// Expanded bytes up to which the ratio does not matter: small files compress as they like.
const RATIO_MATTERS: u64 = 8 << 20;

/// The limits of one upload.
#[derive(Clone, Debug)]
pub struct IngestLimits {
    /// Bytes after decompression.
    pub expanded_bytes: u64,
    /// Bytes as they come in.
    pub compressed_bytes: u64,
    /// Bytes after decompression for each byte that came in; text stays far below 100.
    pub expansion: u64,
    /// How long the sender may leave us without a single new byte of the dataset.
    pub idle: Duration,
    /// The least that must come in while it is waited for the sender for [`idle`](Self::idle), in bytes.
    pub least: u64,
    /// How long the whole upload may take.
    pub total: Duration,
    /// Line length and how much is reported.
    pub lines: Limits,
}

impl Default for IngestLimits {
    /// 16 GiB expanded and as it comes in, 200-fold expansion, 60 s idle, 64 KiB a minute, 6 h in all.
    fn default() -> Self {
        Self {
            expanded_bytes: 16 << 30,
            compressed_bytes: 16 << 30,
            expansion: 200,
            idle: Duration::from_secs(60),
            least: 64 << 10,
            total: Duration::from_secs(6 * 60 * 60),
            lines: Limits::default(),
        }
    }
}

impl IngestLimits {
    /// Refuses what has grown too large so far.
    pub(super) fn check(&self, expanded: u64, compressed: u64) -> Result<(), IngestError> {
        if expanded > self.expanded_bytes {
            return Err(IngestError::TooLarge {
                limit: self.expanded_bytes,
            });
        }
        if expanded > RATIO_MATTERS && expanded / compressed.max(1) > self.expansion {
            return Err(IngestError::Bomb {
                limit: self.expansion,
            });
        }
        Ok(())
    }
}
