//! Quotas: limits by role, and the ledger of what each user has taken (QU-1).
//!
//! The ledger is one stream per user. Whoever takes from a quota reads that stream and is checked at its
//! exact revision, so concurrent commands cannot pass the limit together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};

use crate::{
    aggregate::{Aggregate, Event},
    personal::{KindFields, Subject},
};

/// What is limited by count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Projects owned.
    Projects,
    /// Datasets owned.
    Datasets,
    /// Jobs that are queued or under way.
    ConcurrentJobs,
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Projects => "projects",
            Self::Datasets => "datasets",
            Self::ConcurrentJobs => "concurrent jobs",
        })
    }
}

/// The limits of one role or user; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Projects owned.
    pub projects: Option<u32>,
    /// Datasets owned.
    pub datasets: Option<u32>,
    /// Jobs queued or under way at once.
    pub concurrent_jobs: Option<u32>,
    /// Stored gigabytes (10⁹ bytes).
    pub storage_gb: Option<u32>,
    /// GPU hours in a calendar month.
    pub gpu_hours: Option<u32>,
}

impl Quotas {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        projects: None,
        datasets: None,
        concurrent_jobs: None,
        storage_gb: None,
        gpu_hours: None,
    };
    /// Nothing at all: what an account without roles has.
    pub const NOTHING: Self = Self {
        projects: Some(0),
        datasets: Some(0),
        concurrent_jobs: Some(0),
        storage_gb: Some(0),
        gpu_hours: Some(0),
    };

    /// The more generous of both, limit by limit (AC-1).
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let more = |a: Option<u32>, b: Option<u32>| a.zip(b).map(|(a, b)| a.max(b));
        Self {
            projects: more(self.projects, other.projects),
            datasets: more(self.datasets, other.datasets),
            concurrent_jobs: more(self.concurrent_jobs, other.concurrent_jobs),
            storage_gb: more(self.storage_gb, other.storage_gb),
            gpu_hours: more(self.gpu_hours, other.gpu_hours),
        }
    }

    /// The limit of one counted quota.
    #[must_use]
    pub fn limit(&self, quota: Quota) -> Option<u32> {
        match quota {
            Quota::Projects => self.projects,
            Quota::Datasets => self.datasets,
            Quota::ConcurrentJobs => self.concurrent_jobs,
        }
    }
}

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

/// Milliseconds.
const HOUR: u64 = 3_600_000;

/// What one user has taken.
#[derive(Clone, Debug, Default)]
pub struct QuotaLedger {
    taken: BTreeMap<Quota, BTreeSet<String>>,
    bytes: u64,
    /// Milliseconds on GPUs by month.
    gpu: BTreeMap<String, u64>,
}

/// The calendar month of `moment` in UTC, as `2026-11`: what GPU hours are counted by.
#[must_use]
pub fn month(moment: OffsetDateTime) -> String {
    let date = moment.to_offset(UtcOffset::UTC).date();
    format!("{:04}-{:02}", date.year(), u8::from(date.month()))
}

/// Facts about use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum LedgerEvent {
    /// One unit was taken.
    #[serde(rename = "access.QuotaTaken")]
    Taken {
        /// Of which quota.
        quota: Quota,
        /// For which thing.
        item: String,
    },
    /// One unit was given back.
    #[serde(rename = "access.QuotaReleased")]
    Released {
        /// Of which quota.
        quota: Quota,
        /// For which thing.
        item: String,
    },
    /// Bytes were stored on the user's account.
    #[serde(rename = "access.StorageTaken")]
    StorageTaken {
        /// How many.
        bytes: u64,
        /// For which thing.
        item: String,
    },
    /// An attempt at a job had a GPU.
    #[serde(rename = "access.GpuTimeTaken")]
    GpuTimeTaken {
        /// The month that it ended in, as [`month`] writes it.
        month: String,
        /// For so long.
        milliseconds: u64,
        /// The job and the attempt.
        item: String,
    },
}

impl Event for LedgerEvent {
    const FIELDS: &'static [KindFields] = &[
        KindFields::of("access.QuotaTaken", Subject::StreamKey).plain(&["quota", "item"]),
        KindFields::of("access.QuotaReleased", Subject::StreamKey).plain(&["quota", "item"]),
        KindFields::of("access.StorageTaken", Subject::StreamKey).plain(&["bytes", "item"]),
        KindFields::of("access.GpuTimeTaken", Subject::StreamKey).plain(&["month", "milliseconds", "item"]),
    ];
}

impl Aggregate for QuotaLedger {
    const CATEGORY: &'static str = "access.ledger";
    type Event = LedgerEvent;

    fn evolve(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::Taken { quota, item } => {
                self.taken.entry(*quota).or_default().insert(item.clone());
            }
            LedgerEvent::Released { quota, item } => {
                if let Some(items) = self.taken.get_mut(quota) {
                    items.remove(item);
                }
            }
            LedgerEvent::StorageTaken { bytes, .. } => self.bytes = self.bytes.saturating_add(*bytes),
            LedgerEvent::GpuTimeTaken {
                month, milliseconds, ..
            } => {
                let sum = self.gpu.entry(month.clone()).or_default();
                *sum = sum.saturating_add(*milliseconds);
            }
        }
    }
}

impl QuotaLedger {
    /// How much of `quota` is taken.
    #[must_use]
    pub fn used(&self, quota: Quota) -> u32 {
        self.taken
            .get(&quota)
            .map_or(0, |items| u32::try_from(items.len()).unwrap_or(u32::MAX))
    }

    /// Bytes stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether GPU hours are left in the month of `now`. An attempt that began with hours left may use more.
    ///
    /// # Errors
    /// When none are.
    pub fn gpu_hours_left(&self, quotas: &Quotas, now: OffsetDateTime) -> Result<(), GpuHoursExceeded> {
        let used = self.gpu.get(&month(now)).copied().unwrap_or_default();
        match quotas.gpu_hours {
            Some(limit) if used >= u64::from(limit) * HOUR => Err(GpuHoursExceeded { limit, used }),
            _ => Ok(()),
        }
    }

    /// Takes one unit of `quota` for `item`.
    ///
    /// # Errors
    /// When that would pass the limit.
    pub fn take(&self, quotas: &Quotas, quota: Quota, item: String) -> Result<LedgerEvent, QuotaExceeded> {
        let used = self.used(quota);
        match quotas.limit(quota) {
            Some(limit) if used >= limit => Err(QuotaExceeded { quota, limit, used }),
            _ => Ok(LedgerEvent::Taken { quota, item }),
        }
    }

    /// Whether `bytes` more fit the storage quota: the limit and the use in bytes when they do not.
    #[must_use]
    pub fn storage_exceeded(&self, quotas: &Quotas, bytes: u64) -> Option<(u64, u64)> {
        let limit = u64::from(quotas.storage_gb?) * 1_000_000_000;
        (self.bytes.saturating_add(bytes) > limit).then_some((limit, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::{LedgerEvent, Quota, QuotaLedger, Quotas};
    use crate::aggregate::Aggregate;

    /// QU-1: the refusal says which quota, its limit and the use.
    #[test]
    fn the_last_unit_can_be_taken_and_no_more() {
        let quotas = Quotas {
            projects: Some(1),
            ..Quotas::UNLIMITED
        };
        let mut ledger = QuotaLedger::default();
        ledger.evolve(
            &ledger
                .take(&quotas, Quota::Projects, "a".into())
                .expect("one is free"),
        );
        let refused = ledger
            .take(&quotas, Quota::Projects, "b".into())
            .expect_err("used up");
        assert_eq!((refused.limit, refused.used), (1, 1));
        ledger.evolve(&LedgerEvent::Released {
            quota: Quota::Projects,
            item: "a".into(),
        });
        assert!(ledger.take(&quotas, Quota::Projects, "b".into()).is_ok());
    }

    /// QU-1: hours count in the month that they end in, and begin anew with the next.
    #[test]
    fn gpu_hours_are_counted_by_calendar_month() {
        use time::macros::datetime;
        let quotas = Quotas {
            gpu_hours: Some(2),
            ..Quotas::UNLIMITED
        };
        let mut ledger = QuotaLedger::default();
        let now = datetime!(2026-11-30 23:30 UTC);
        for milliseconds in [super::HOUR, super::HOUR - 1] {
            assert_eq!(ledger.gpu_hours_left(&quotas, now), Ok(()));
            ledger.evolve(&LedgerEvent::GpuTimeTaken {
                month: super::month(now),
                milliseconds,
                item: "job_1/1".into(),
            });
        }
        assert_eq!(
            ledger.gpu_hours_left(&quotas, now),
            Ok(()),
            "a millisecond is left"
        );
        ledger.evolve(&LedgerEvent::GpuTimeTaken {
            month: super::month(now),
            milliseconds: 1_800_001,
            item: "job_1/2".into(),
        });
        let refused = ledger.gpu_hours_left(&quotas, now).expect_err("used up");
        assert!(refused.to_string().contains("2.5 of 2"), "{refused}");
        let abroad = datetime!(2026-12-01 00:30 +01:00);
        assert!(ledger.gpu_hours_left(&quotas, abroad).is_err(), "UTC counts");
        let next = datetime!(2026-12-01 00:00 UTC);
        assert_eq!(ledger.gpu_hours_left(&quotas, next), Ok(()));
    }

    /// AC-1: quotas take the most generous.
    #[test]
    fn unlimited_beats_every_limit() {
        let sum = Quotas {
            projects: Some(3),
            ..Quotas::NOTHING
        }
        .or(Quotas {
            projects: None,
            ..Quotas::NOTHING
        });
        assert_eq!(sum.projects, None);
        assert_eq!(sum.datasets, Some(0));
    }
}
