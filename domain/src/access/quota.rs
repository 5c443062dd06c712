//! How the refusals of quotas read (QU-1). The limits are in [`crate::quota`], what is taken of them in
//! [`super::ledger`].

pub use crate::quota::{Quota, Quotas};

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota of {quota} is used up: {used} of {limit}")]
pub struct QuotaExceeded {
    /// Which.
    pub quota: Quota,
    /// Its limit.
    pub limit: u32,
    /// How much of it is taken.
    pub used: u32,
}

/// The GPU hours of a month that are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the quota of GPU hours is used up: {:.1} of {limit} in this month; wait for the next, or train on a processor",
    *used as f64 / HOUR as f64
)]
pub struct GpuHoursExceeded {
    /// Hours in a month.
    pub limit: u32,
    /// Milliseconds that were used.
    pub used: u64,
}

/// A storage quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the storage quota is used up: {used} of {limit} bytes are taken, {wanted} more do not fit; {} bytes are free",
    self.free()
)]
pub struct StorageExceeded {
    /// Bytes that the owner may store.
    pub limit: u64,
    /// Bytes stored, and those reserved for uploads under way.
    pub used: u64,
    /// What was to be added.
    pub wanted: u64,
}

impl StorageExceeded {
    /// Bytes that fit.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// In milliseconds.
pub(super) const HOUR: u64 = 3_600_000;
