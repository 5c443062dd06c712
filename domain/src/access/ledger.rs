//! The ledger of what each user has taken of the quotas (QU-1).
//!
//! One stream per user. Whoever takes from a quota reads that stream and is checked at its exact revision, so
//! concurrent commands cannot pass the limit together.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime, UtcOffset};

use super::quota::{GpuHoursExceeded, HOUR, Quota, QuotaExceeded, Quotas, StorageExceeded};
use crate::{
    aggregate::{Aggregate, event},
    shared_set::SharedSet,
};

/// The calendar month of `moment` in UTC, as `2026-11`: what GPU hours are counted by.
#[must_use]
pub fn month(moment: OffsetDateTime) -> String {
    let date = moment.to_offset(UtcOffset::UTC).date();
    format!("{:04}-{:02}", date.year(), u8::from(date.month()))
}

/// When the month of `moment` began.
fn month_began(moment: OffsetDateTime) -> OffsetDateTime {
    let date = moment.to_offset(UtcOffset::UTC).date();
    let first = date.replace_day(1).unwrap_or(date);
    first.midnight().assume_utc()
}

/// The months that the time between two moments lies in, and its milliseconds in each; at least one.
pub(crate) fn by_month(from: OffsetDateTime, to: OffsetDateTime) -> Vec<(String, u64)> {
    let (mut parts, mut from) = (Vec::new(), from);
    loop {
        let next = month_began(from).checked_add(Duration::days(32)).map(month_began);
        match next.filter(|next| *next < to) {
            Some(next) => {
                parts.push((month(from), milliseconds(from, next)));
                from = next;
            }
            None => {
                parts.push((month(from), milliseconds(from, to)));
                return parts;
            }
        }
    }
}

/// From one moment to another; none where the clock ran backwards.
pub(crate) fn milliseconds(from: OffsetDateTime, to: OffsetDateTime) -> u64 {
    u64::try_from((to - from).whole_milliseconds()).unwrap_or_default()
}

/// What one user has taken. A copy costs the same however long the history is.
#[derive(Clone, Debug, Default)]
pub struct QuotaLedger {
    taken: BTreeMap<Quota, SharedSet>,
    bytes: u64,
    /// Bytes reserved for what is not stored yet, and until when.
    reserved: BTreeMap<String, (u64, OffsetDateTime)>,
    /// Milliseconds on GPUs by month, of attempts that ended.
    gpu: BTreeMap<String, u64>,
    /// Since when attempts under way have a GPU.
    on_gpus: BTreeMap<String, OffsetDateTime>,
}

/// Facts about use.
#[event(context = "access", subject = stream)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// One unit was taken.
    #[event(name = "QuotaTaken")]
    Taken {
        /// Of which quota.
        quota: Quota,
        /// For which thing.
        #[plain]
        item: String,
    },
    /// One unit was given back.
    #[event(name = "QuotaReleased")]
    Released {
        /// Of which quota.
        quota: Quota,
        /// For which thing.
        #[plain]
        item: String,
    },
    /// Bytes were stored on the user's account.
    StorageTaken {
        /// How many.
        bytes: u64,
        /// For which thing.
        #[plain]
        item: String,
    },
    /// Room for bytes that are on their way was reserved, in place of what the same thing had reserved before.
    StorageReserved {
        /// How many.
        bytes: u64,
        /// When the reservation ends by itself.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
        /// For which thing.
        #[plain]
        item: String,
    },
    /// A reservation of room ended: the bytes are stored, or will not be.
    StorageReleased {
        /// For which thing.
        #[plain]
        item: String,
    },
    /// An attempt at a job got a GPU.
    GpuTimeBegan {
        /// The time.
        #[serde(with = "time::serde::rfc3339")]
        began_at: OffsetDateTime,
        /// The job and the attempt.
        #[plain]
        item: String,
    },
    /// An attempt at a job that had a GPU ended. One for each month that it had it in.
    GpuTimeTaken {
        /// The month, as [`month`] writes it.
        #[plain]
        month: String,
        /// For so long in that month.
        milliseconds: u64,
        /// The job and the attempt.
        #[plain]
        item: String,
    },
}

impl Aggregate for QuotaLedger {
    const CATEGORY: &'static str = "access.ledger";
    type Event = LedgerEvent;

    fn evolve(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::Taken { quota, item } => {
                self.taken.entry(*quota).or_default().insert(item);
            }
            LedgerEvent::Released { quota, item } => {
                if let Some(items) = self.taken.get_mut(quota) {
                    items.remove(item);
                }
            }
            LedgerEvent::StorageTaken { bytes, .. } => self.bytes = self.bytes.saturating_add(*bytes),
            LedgerEvent::StorageReserved { bytes, until, item } => {
                self.reserved.insert(item.clone(), (*bytes, *until));
            }
            LedgerEvent::StorageReleased { item } => {
                self.reserved.remove(item);
            }
            LedgerEvent::GpuTimeBegan { began_at, item } => {
                self.on_gpus.insert(item.clone(), *began_at);
            }
            LedgerEvent::GpuTimeTaken {
                month,
                milliseconds,
                item,
            } => {
                self.on_gpus.remove(item);
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

    /// How long the GPU hours of the month of `now` last if what is on GPUs stays there; `None`: for ever.
    ///
    /// # Errors
    /// When none are left.
    pub fn gpu_hours_left(
        &self,
        quotas: &Quotas,
        now: OffsetDateTime,
    ) -> Result<Option<std::time::Duration>, GpuHoursExceeded> {
        let Some(limit) = quotas.gpu_hours else {
            return Ok(None);
        };
        let ended = self.gpu.get(&month(now)).copied().unwrap_or_default();
        let first = month_began(now);
        let under_way = self
            .on_gpus
            .values()
            .map(|began| milliseconds(first.max(*began), now));
        let used = under_way.fold(ended, u64::saturating_add);
        match (u64::from(limit) * HOUR).saturating_sub(used) {
            0 => Err(GpuHoursExceeded { limit, used }),
            left => {
                let at_once = self.on_gpus.len().max(1) as u64;
                Ok(Some(std::time::Duration::from_millis(left.div_ceil(at_once))))
            }
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

    /// Whether `wanted` bytes more fit the storage quota beside what is stored and what is reserved for others than
    /// `item` at the time `now`.
    ///
    /// # Errors
    /// When they do not.
    pub fn storage_left(
        &self,
        quotas: &Quotas,
        wanted: u64,
        now: OffsetDateTime,
        item: Option<&str>,
    ) -> Result<(), StorageExceeded> {
        let limit = quotas.storage_gb.map(|limit| u64::from(limit) * 1_000_000_000);
        let others = self.reserved.iter();
        let others = others.filter(|(other, (_, until))| Some(other.as_str()) != item && *until > now);
        let used = others.fold(self.bytes, |sum, (_, (bytes, _))| sum.saturating_add(*bytes));
        match limit {
            Some(limit) if used.saturating_add(wanted) > limit => {
                Err(StorageExceeded { limit, used, wanted })
            }
            _ => Ok(()),
        }
    }
}

impl QuotaLedger {
    /// Reserves room for `bytes` in all for `item`, until `until`. Reservations that have ended by themselves are
    /// released with it. Where there is no limit there is nothing to reserve.
    ///
    /// # Errors
    /// When they do not fit beside what others have.
    pub fn reserve(
        &self,
        quotas: &Quotas,
        (item, bytes): (&str, u64),
        (now, until): (OffsetDateTime, OffsetDateTime),
    ) -> Result<Vec<LedgerEvent>, StorageExceeded> {
        self.storage_left(quotas, bytes, now, Some(item))?;
        if quotas.storage_gb.is_none() {
            return Ok(Vec::new());
        }
        let over = self.reserved.iter();
        let over = over.filter(|(other, (_, until))| *other != item && *until <= now);
        let released = over.map(|(other, _)| LedgerEvent::StorageReleased { item: other.clone() });
        let item = item.to_owned();
        let reserved = LedgerEvent::StorageReserved { bytes, until, item };
        Ok(released.chain([reserved]).collect())
    }

    /// Releases what `item` has reserved; `None` when that is nothing.
    #[must_use]
    pub fn release(&self, item: &str) -> Option<LedgerEvent> {
        self.reserved
            .contains_key(item)
            .then(|| LedgerEvent::StorageReleased {
                item: item.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::{OffsetDateTime, macros::datetime};

    use super::*;
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

    const TWO_HOURS: Quotas = Quotas {
        gpu_hours: Some(2),
        ..Quotas::UNLIMITED
    };

    fn taken(month: &str, milliseconds: u64, item: &str) -> LedgerEvent {
        let (month, item) = (month.to_owned(), item.to_owned());
        LedgerEvent::GpuTimeTaken {
            month,
            milliseconds,
            item,
        }
    }

    fn began(began_at: OffsetDateTime, item: &str) -> LedgerEvent {
        let item = item.to_owned();
        LedgerEvent::GpuTimeBegan { began_at, item }
    }

    /// QU-1: hours count in their month, and begin anew with the next.
    #[test]
    fn gpu_hours_are_counted_by_calendar_month() {
        let mut ledger = QuotaLedger::default();
        let now = datetime!(2026-11-30 23:30 UTC);
        for (milliseconds, left) in [(HOUR, 2 * HOUR), (HOUR - 1, HOUR)] {
            let left = Some(Duration::from_millis(left));
            assert_eq!(ledger.gpu_hours_left(&TWO_HOURS, now), Ok(left));
            ledger.evolve(&taken("2026-11", milliseconds, "job_1/1"));
        }
        let left = ledger.gpu_hours_left(&TWO_HOURS, now);
        assert_eq!(left, Ok(Some(Duration::from_millis(1))));
        ledger.evolve(&taken("2026-11", 1_800_001, "job_1/2"));
        let refused = ledger.gpu_hours_left(&TWO_HOURS, now).expect_err("used up");
        assert!(refused.to_string().contains("2.5 of 2"), "{refused}");
        let abroad = datetime!(2026-12-01 00:30 +01:00);
        assert!(ledger.gpu_hours_left(&TWO_HOURS, abroad).is_err(), "UTC counts");
        let next = datetime!(2026-12-01 00:00 UTC);
        let all = Some(Duration::from_millis(2 * HOUR));
        assert_eq!(ledger.gpu_hours_left(&TWO_HOURS, next), Ok(all));
        assert_eq!(ledger.gpu_hours_left(&Quotas::UNLIMITED, now), Ok(None));
    }

    /// QU-1: what is under way counts, and what runs side by side uses the hours up so much faster.
    #[test]
    fn attempts_under_way_use_gpu_hours_up() {
        let mut ledger = QuotaLedger::default();
        let now = datetime!(2026-11-22 12:00 UTC);
        ledger.evolve(&began(now - time::Duration::minutes(30), "job_1/1"));
        ledger.evolve(&began(now - time::Duration::minutes(60), "job_2/1"));
        let left = |ledger: &QuotaLedger| ledger.gpu_hours_left(&TWO_HOURS, now);
        assert_eq!(left(&ledger), Ok(Some(Duration::from_secs(15 * 60))));
        let soon = now + time::Duration::minutes(15);
        let used = 2 * HOUR;
        let exceeded = Err(GpuHoursExceeded { limit: 2, used });
        assert_eq!(ledger.gpu_hours_left(&TWO_HOURS, soon), exceeded);
        ledger.evolve(&taken("2026-11", HOUR, "job_2/1"));
        assert_eq!(
            left(&ledger),
            Ok(Some(Duration::from_secs(30 * 60))),
            "counted once"
        );
        let in_december = datetime!(2026-12-01 00:30 UTC);
        assert_eq!(
            ledger.gpu_hours_left(&TWO_HOURS, in_december),
            Ok(Some(Duration::from_secs(90 * 60))),
            "what began in November counts from the first of December on"
        );
    }

    #[test]
    fn time_is_parted_by_months() {
        let from = datetime!(2026-11-30 23:00 UTC);
        let parts = |to| by_month(from, to);
        let in_november = |milliseconds| ("2026-11".to_owned(), milliseconds);
        assert_eq!(parts(from), [in_november(0)], "always one");
        assert_eq!(parts(datetime!(2026-11-30 22:00 UTC)), [in_november(0)], "clocks");
        assert_eq!(parts(datetime!(2026-12-01 00:00 UTC)), [in_november(HOUR)]);
        let december = 31 * 24 * HOUR;
        assert_eq!(
            parts(datetime!(2027-01-01 02:00 +01:00)),
            [
                in_november(HOUR),
                ("2026-12".to_owned(), december),
                ("2027-01".to_owned(), HOUR)
            ]
        );
    }
}
