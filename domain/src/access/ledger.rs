//! The ledger of what each user has taken of the quotas (QU-1).
//!
//! One stream per user. Whoever takes from a quota reads that stream and is checked at its exact revision, so
//! concurrent commands cannot pass the limit together.

#[cfg(test)]
mod tests;

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
    /// SHA-256 of objects that are counted in that, each once however many things refer to it.
    objects: SharedSet,
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
        /// How many: none where the user has the same bytes for another thing already.
        bytes: u64,
        /// For which thing.
        #[plain]
        item: String,
        /// SHA-256 of the bytes, where the object store has them under that name alone; `None` in facts that earlier
        /// builds recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[plain]
        object: Option<String>,
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
            LedgerEvent::StorageTaken { bytes, object, .. } => {
                self.bytes = self.bytes.saturating_add(*bytes);
                if let Some(object) = object {
                    self.objects.insert(object);
                }
            }
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

    /// What storing the object with this SHA-256 takes for `item`: nothing where the user has the same bytes already.
    #[must_use]
    pub fn take_object(&self, sha256: &str, bytes: u64, item: String) -> (u64, LedgerEvent) {
        let bytes = match self.objects.contains(sha256) {
            true => 0,
            false => bytes,
        };
        let object = Some(sha256.to_owned());
        (bytes, LedgerEvent::StorageTaken { bytes, item, object })
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

    /// When what `item` has reserved ends by itself; `None` when it has nothing.
    #[must_use]
    pub fn reserved_until(&self, item: &str) -> Option<OffsetDateTime> {
        self.reserved.get(item).map(|(_, until)| *until)
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
