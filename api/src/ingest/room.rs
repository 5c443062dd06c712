//! Room for an upload: reserved before its bytes are kept, and bounded by it.
//!
//! One rule: no byte is staged that is not reserved, but for the first [`FREE`], which stay in memory.

use std::time::Duration;

use async_trait::async_trait;
use domain::access::quota::StorageExceeded;
use tokio::time::Instant;

use super::{IngestError, IngestLimits};

/// Bytes that are taken before anything is reserved: less than a store is given at once.
const FREE: u64 = 1 << 20;
/// The least and the most that is reserved ahead of the bytes.
const STEPS: (u64, u64) = (16 << 20, 1 << 30);
/// How long a reservation lasts that is not extended.
pub const LASTS: Duration = Duration::from_secs(15 * 60);
/// After this time it is extended.
const EXTENDED_AFTER: Duration = Duration::from_secs(5 * 60);

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The quota does not have it.
    Exceeded(StorageExceeded),
    /// It could not be decided, or the sender may not upload any more; who decides knows why.
    Undecided,
}

/// Whoever decides on room.
#[async_trait]
pub trait Room: Send {
    /// Reserves room for `bytes` in all, in place of what was reserved before, for [`LASTS`]. `sha256` is the hash that
    /// the bytes have, or must have, where it is known: bytes that are stored already need no room.
    ///
    /// # Errors
    /// When there is none.
    async fn reserve(&mut self, bytes: u64, sha256: Option<&str>) -> Result<(), NoRoom>;
}

/// The room that an upload has.
pub(super) struct Reserved<'a> {
    room: &'a mut dyn Room,
    /// The hash that the bytes must have, if the sender says so.
    expected: Option<String>,
    bytes: u64,
    /// When it was last decided.
    decided: Option<Instant>,
}

impl<'a> Reserved<'a> {
    pub(super) fn none(room: &'a mut dyn Room, expected: Option<String>) -> Self {
        Self {
            room,
            expected,
            bytes: 0,
            decided: None,
        }
    }

    /// Before the first byte: room for the length that the sender declares. Compressed data sets become longer than
    /// that, never shorter.
    pub(super) async fn declared(&mut self, bytes: u64, limits: &IngestLimits) -> Result<(), IngestError> {
        let limit = limits.compressed_bytes;
        if bytes > limit {
            return Err(IngestError::TooLarge { limit });
        }
        match bytes > FREE {
            true => self.ask(bytes).await.map_err(IngestError::NoRoom),
            false => Ok(()),
        }
    }

    /// Before the bytes up to `total` are kept. Grows in steps, and by what is left where a step does not fit.
    pub(super) async fn grow(&mut self, total: u64) -> Result<(), IngestError> {
        let stale = self.decided.is_some_and(|at| at.elapsed() > EXTENDED_AFTER);
        if total <= self.bytes.max(FREE) {
            return match stale {
                true => self.ask(self.bytes).await.map_err(IngestError::NoRoom),
                false => Ok(()),
            };
        }
        let step = total.clamp(STEPS.0, STEPS.1);
        match self.ask(total.saturating_add(step)).await {
            Err(NoRoom::Exceeded(exceeded)) if exceeded.free() >= total => {
                self.ask(exceeded.free()).await.map_err(IngestError::NoRoom)
            }
            Err(NoRoom::Exceeded(exceeded)) => {
                let wanted = total;
                Err(IngestError::NoRoom(NoRoom::Exceeded(StorageExceeded {
                    wanted,
                    ..exceeded
                })))
            }
            decided => decided.map_err(IngestError::NoRoom),
        }
    }

    /// Before the bytes are published: room for exactly all of them, now that their hash is known.
    pub(super) async fn settle(&mut self, total: u64, sha256: &str) -> Result<(), IngestError> {
        self.expected = Some(sha256.to_owned());
        self.ask(total).await.map_err(IngestError::NoRoom)
    }

    async fn ask(&mut self, bytes: u64) -> Result<(), NoRoom> {
        self.room.reserve(bytes, self.expected.as_deref()).await?;
        self.bytes = bytes;
        self.decided = Some(Instant::now());
        Ok(())
    }
}
