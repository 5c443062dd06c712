//! The lock after wrong guesses (SE-5): five in a row for one account from one address, then 15 minutes.
//!
//! One rule: a guess is counted *before* it is checked. Fifty guesses at the same moment get five permits; a
//! permit that is dropped (the caller went away, the task panicked) counts as a wrong guess.
//!
//! The lock is on the pair of account and address, so that strangers elsewhere cannot lock the owner out; a
//! second brake per account alone belongs beside it. It is kept whether or not the account exists, and the
//! answer to a locked, a wrong and an unknown login must be the same. Limits of this version: it lives in
//! one process and is forgotten at a restart.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use time::{Duration, OffsetDateTime};

use super::generations::Generations;
use super::{AddressKey, lock};

/// Pairs that are remembered at most. Each new one costs a guess, and guesses cost a hash: at twenty a second,
/// pushing a locked pair out takes longer than its lock.
const MAX_PAIRS: usize = 131_072;

/// How many guesses, and how long the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutSettings {
    /// Wrong guesses after which the pair is locked.
    pub max_failures: u32,
    /// How long it is locked, and how long a wrong guess is remembered.
    pub lock_for: std::time::Duration,
}

impl Default for LockoutSettings {
    fn default() -> Self {
        Self {
            max_failures: 5,
            lock_for: std::time::Duration::from_secs(15 * 60),
        }
    }
}

/// One account, as a keyed hash (never its name), tried from one address.
///
/// Use another scope of the keyed hash for each factor: a wrong code must not use up, nor a right password reset,
/// what the other factor has counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GuessKey {
    account_key: Arc<str>,
    address: AddressKey,
}

impl GuessKey {
    /// The pair of `Pepper::keyed_hash("login", normalised name)` and the caller's address.
    #[must_use]
    pub fn new(account_key: &str, address: IpAddr) -> Self {
        Self {
            account_key: account_key.into(),
            address: address.into(),
        }
    }
}

/// Why no guess may be made. To the outside both look like a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many wrong guesses.
    #[error("locked after too many wrong guesses until {until}")]
    Locked {
        /// When the lock ends.
        until: OffsetDateTime,
    },
    /// As many guesses as are left are being checked at this moment.
    #[error("too many guesses at the same time")]
    TooManyAtOnce,
}

/// What a wrong guess has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// So many wrong guesses are left.
    Left(u32),
    /// This guess was the last: record it, the pair is locked until then.
    Locked {
        /// When the lock ends.
        until: OffsetDateTime,
    },
}

/// What is remembered of one pair. Never more than `max_failures` failures and guesses under way together.
#[derive(Clone, Copy, Default)]
struct Record {
    failures: u32,
    under_way: u32,
    last_failure: Option<OffsetDateTime>,
    locked_until: Option<OffsetDateTime>,
}

impl Record {
    /// Forgets what is over at `now`.
    fn aged(mut self, now: OffsetDateTime, lock_for: Duration) -> Self {
        // A clock that was set back must not lock anybody for longer than a lock lasts.
        let running = |until: OffsetDateTime| until > now && until - now <= lock_for;
        if self.locked_until.is_some_and(|until| !running(until)) {
            (self.failures, self.last_failure, self.locked_until) = (0, None, None);
        }
        if self.last_failure.is_some_and(|at| now - at >= lock_for) && self.locked_until.is_none() {
            (self.failures, self.last_failure) = (0, None);
        }
        self
    }

    fn is_blank(&self) -> bool {
        self.failures == 0 && self.under_way == 0
    }
}

struct Inner {
    max_failures: u32,
    lock_for: Duration,
    records: Mutex<Generations<GuessKey, Record>>,
}

impl Inner {
    /// Changes the record of a pair as it stands at `now`, in one step.
    fn change<T>(&self, key: &GuessKey, now: OffsetDateTime, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut records = lock(&self.records);
        let mut record = records.remove(key).unwrap_or_default().aged(now, self.lock_for);
        let result = change(&mut record);
        if !record.is_blank() {
            records.insert(key.clone(), record);
        }
        result
    }

    fn failed(&self, key: &GuessKey, now: OffsetDateTime) -> Tally {
        self.change(key, now, |record| {
            record.under_way = record.under_way.saturating_sub(1);
            record.failures = (record.failures + 1).min(self.max_failures);
            record.last_failure = Some(now);
            if record.failures < self.max_failures {
                return Tally::Left(self.max_failures - record.failures);
            }
            let until = *record
                .locked_until
                .get_or_insert(now.saturating_add(self.lock_for));
            Tally::Locked { until }
        })
    }
}

/// Counts wrong guesses and locks. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Lockout(Arc<Inner>);

impl Lockout {
    /// A lockout in which nobody has guessed yet.
    #[must_use]
    pub fn new(settings: LockoutSettings) -> Self {
        Self(Arc::new(Inner {
            max_failures: settings.max_failures.max(1),
            lock_for: Duration::try_from(settings.lock_for).unwrap_or(Duration::DAY),
            records: Mutex::new(Generations::new(MAX_PAIRS)),
        }))
    }

    /// Takes a guess before it is checked. Settle the permit with what the check found.
    ///
    /// # Errors
    /// [`Refused`]; then nothing may be checked. The lock is not made longer by asking.
    pub fn reserve(&self, key: &GuessKey, now: OffsetDateTime) -> Result<Permit, Refused> {
        self.0.change(key, now, |record| {
            if let Some(until) = record.locked_until {
                return Err(Refused::Locked { until });
            }
            if record.failures + record.under_way >= self.0.max_failures {
                return Err(Refused::TooManyAtOnce);
            }
            record.under_way += 1;
            Ok(())
        })?;
        Ok(Permit {
            inner: Arc::clone(&self.0),
            key: Some(key.clone()),
            reserved_at: now,
        })
    }

    /// How many pairs are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        lock(&self.0.records).len()
    }
}

/// One guess that may be checked. Dropped unsettled, it counts as a wrong one at the time it was taken.
#[must_use = "a permit that is not settled counts as a wrong guess"]
pub struct Permit {
    inner: Arc<Inner>,
    key: Option<GuessKey>,
    reserved_at: OffsetDateTime,
}

impl Permit {
    /// The guess was right: all wrong ones of this pair are forgotten.
    pub fn success(mut self, now: OffsetDateTime) {
        if let Some(key) = self.key.take() {
            self.inner.change(&key, now, |record| {
                *record = Record {
                    under_way: record.under_way.saturating_sub(1),
                    ..Record::default()
                };
            });
        }
    }

    /// The guess was wrong. Record [`Tally::Locked`] as an event.
    pub fn failure(mut self, now: OffsetDateTime) -> Tally {
        match self.key.take() {
            Some(key) => self.inner.failed(&key, now),
            None => Tally::Left(0),
        }
    }

    /// Nothing was checked (no free hashing worker, the log did not answer): the guess is given back.
    pub fn release(mut self, now: OffsetDateTime) {
        if let Some(key) = self.key.take() {
            self.inner.change(&key, now, |record| {
                record.under_way = record.under_way.saturating_sub(1);
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.inner.failed(&key, self.reserved_at);
        }
    }
}
