//! Brakes: how often somebody may ask (RL-3), and how often a password may be guessed (SE-5).
//!
//! One rule: memory is bounded whatever strangers send. When a table is full, what was touched longest ago is
//! forgotten first.
//!
//! Both count within this process. Several replicas each allow their own share, and a restart forgets;
//! counting through the log and between replicas comes later.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::{Duration, OffsetDateTime};

mod generations;
mod lockout;

use generations::Generations;
pub use lockout::{GuessKey, Lockout, LockoutSettings, Permit, Refused, Tally};

/// Keys that a limiter remembers at most.
const LIMITER_KEYS: usize = 65_536;

/// Who asks, as far as an address tells: an IPv4 address, or the /64 of an IPv6 address, because one customer
/// has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl std::fmt::Display for AddressKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

/// So many requests in such a time; all of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: u32,
    period: Duration,
}

impl Quota {
    /// `limit` requests in each `period`; nothing below one request and one millisecond.
    #[must_use]
    pub fn new(limit: u32, period: std::time::Duration) -> Self {
        let period = Duration::try_from(period)
            .unwrap_or(Duration::DAY)
            .min(Duration::days(365));
        Self {
            limit: limit.max(1),
            period: period.max(Duration::MILLISECOND),
        }
    }

    /// The time after which one more request is earned.
    fn step(self) -> Duration {
        self.period / self.limit
    }
}

/// Status of a rate limit, for the `RateLimit-*` headers (RL-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Requests in each period.
    pub limit: u32,
    /// Requests that would be let through now.
    pub remaining: u32,
    /// The time until all of the limit is there again.
    pub reset_after: std::time::Duration,
}

/// Too many requests. Answer 429 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; try again in {} s", .retry_after.as_secs() + 1)]
pub struct Limited {
    /// The time after which one request would be let through.
    pub retry_after: std::time::Duration,
    /// The caller's rate limit status.
    pub limit_status: RateLimitStatus,
}

/// A limit per key (an address, a user), by the generic cell rate algorithm (ITU-T I.371).
///
/// Each key costs one moment: when its requests so far will have been paid for. A refused request costs
/// nothing.
pub struct RateLimiter<K> {
    quota: Quota,
    paid_at: Mutex<Generations<K, OffsetDateTime>>,
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// A limiter in which nobody has asked yet.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            paid_at: Mutex::new(Generations::new(LIMITER_KEYS)),
        }
    }

    /// Counts one request at `now`.
    ///
    /// # Errors
    /// [`Limited`] when the key has used its quota up; the request is not counted.
    pub fn check(&self, key: &K, now: OffsetDateTime) -> Result<RateLimitStatus, Limited> {
        let Quota { limit, period } = self.quota;
        let step = self.quota.step();
        let mut table = lock(&self.paid_at);
        let owed = table.get(key).map_or(Duration::ZERO, |paid_at| *paid_at - now);
        let debt = owed.clamp(Duration::ZERO, period);
        if owed > period {
            // The clock was set back: that must not lock anybody out for longer than the period.
            table.insert(key.clone(), now.saturating_add(period));
        }
        let after = debt + step;
        if after > period {
            return Err(Limited {
                retry_after: positive(after - period),
                limit_status: limit_status(limit, 0, debt),
            });
        }
        table.insert(key.clone(), now.saturating_add(after));
        let earned = (period - after).whole_nanoseconds() / step.whole_nanoseconds().max(1);
        Ok(limit_status(limit, u32::try_from(earned).unwrap_or(limit), after))
    }
}

fn limit_status(limit: u32, remaining: u32, debt: Duration) -> RateLimitStatus {
    RateLimitStatus {
        limit,
        remaining,
        reset_after: positive(debt),
    }
}

fn positive(duration: Duration) -> std::time::Duration {
    duration.try_into().unwrap_or_default()
}

/// A table's lock; held for a look-up or two. A panic elsewhere does not open the brakes.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
