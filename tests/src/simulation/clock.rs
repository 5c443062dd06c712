//! Logical time, and the ids that carry it.
//!
//! One rule: time passes only when the scheduler says so.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use domain::{clock::Clock, id::Ids};
use time::OffsetDateTime;
use uuid::Uuid;

/// When every run begins: 2026-01-01T00:00:00Z, in microseconds of Unix time.
const DAWN: u64 = 1_767_225_600_000_000;

/// Logical time, in microseconds since the run began.
#[derive(Debug, Default)]
pub(super) struct LogicalClock(AtomicU64);

impl LogicalClock {
    pub(super) fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }
}

impl Clock for LogicalClock {
    fn now(&self) -> OffsetDateTime {
        let nanos = i128::from(DAWN + self.micros()) * 1_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// Ids that count up and carry logical time, as version 7 does.
#[derive(Debug)]
pub(super) struct CountedIds {
    pub(super) clock: Arc<LogicalClock>,
    pub(super) next: AtomicU64,
}

impl Ids for CountedIds {
    fn next(&self) -> Uuid {
        let millis = (DAWN + self.clock.micros()) / 1_000;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&number.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}
