//! RL-3 and SE-5: limits and lockouts.

use std::net::IpAddr;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;

use super::{
    AddressKey, Generations, GuessKey, Lockout, LockoutSettings, Permit, Quota, RateLimiter, Refused, Tally,
};

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const QUARTER: Duration = Duration::from_secs(15 * 60);

fn at(seconds: i64) -> OffsetDateTime {
    NOW + time::Duration::seconds(seconds)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn lockout() -> Lockout {
    Lockout::new(LockoutSettings::default())
}

fn key(account_key: &str, from: &str) -> GuessKey {
    GuessKey::new(account_key, address(from))
}

fn fail(lockout: &Lockout, key: &GuessKey, now: OffsetDateTime) -> Tally {
    lockout.reserve(key, now).expect("a permit").failure(now)
}

/// RL-3
#[test]
fn a_limit_lets_a_burst_through_and_then_one_request_per_step() {
    let limiter = RateLimiter::new(Quota::new(10, Duration::from_secs(60)));
    for left in (0..10).rev() {
        let limit_status = limiter.check(&1, NOW).expect("within the limit");
        assert_eq!((limit_status.limit, limit_status.remaining), (10, left));
    }
    let limited = limiter.check(&1, NOW).expect_err("used up");
    assert_eq!(limited.retry_after, Duration::from_secs(6));
    assert_eq!(limited.limit_status.reset_after, Duration::from_secs(60));
    assert!(limiter.check(&2, NOW).is_ok(), "another key has its own quota");
    assert!(limiter.check(&1, at(5)).is_err());
    assert!(limiter.check(&1, at(6)).is_ok(), "refused requests cost nothing");
    assert!(limiter.check(&1, at(6)).is_err());
    assert_eq!(limiter.check(&1, at(600)).expect("recovered").remaining, 9);
}

#[test]
fn over_an_hour_no_more_passes_than_the_quota_and_one_burst() {
    let limiter = RateLimiter::new(Quota::new(100, Duration::from_secs(60)));
    let passed = (0..3_600 * 10).filter(|tenth| {
        limiter
            .check(&(), NOW + Duration::from_millis(tenth * 100))
            .is_ok()
    });
    assert!((6_000..=6_100).contains(&passed.count()));
}

#[test]
fn a_clock_set_back_locks_nobody_out_for_longer_than_the_period() {
    let limiter = RateLimiter::new(Quota::new(2, Duration::from_secs(60)));
    for _ in 0..2 {
        limiter.check(&(), at(86_400)).expect("within the limit");
    }
    assert_eq!(
        limiter.check(&(), NOW).expect_err("used up").retry_after,
        Duration::from_secs(30)
    );
    let odd = RateLimiter::new(Quota::new(0, Duration::ZERO));
    assert!(
        odd.check(&(), NOW).is_ok(),
        "a senseless quota is the smallest one"
    );
    assert!(
        RateLimiter::new(Quota::new(u32::MAX, Duration::MAX))
            .check(&(), NOW)
            .is_ok()
    );

    // Whoever asks meanwhile is told the truth: the wait passes.
    let limiter = RateLimiter::new(Quota::new(10, Duration::from_secs(60)));
    assert!(limiter.check(&1, at(7_200)).is_ok());
    let limited = limiter.check(&1, at(0)).expect_err("set back by two hours");
    assert_eq!(limited.retry_after, Duration::from_secs(6));
    assert!(limiter.check(&1, at(6)).is_ok(), "as it was told");
}

/// RL-3
#[test]
fn an_address_is_an_ipv4_address_or_the_network_of_an_ipv6_customer() {
    let key = |text| AddressKey::from(address(text));
    assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2:ffff::1"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn memory_is_bounded_and_what_was_touched_last_is_kept() {
    let mut map = Generations::new(100);
    for key in 0..100_000_u32 {
        map.insert(key, key);
        let hot = map.remove(&0).unwrap_or(7);
        map.insert(0, hot);
        assert!(map.len() <= 100, "{}", map.len());
    }
    assert_eq!(map.get(&0), Some(&0), "the one that was in use all the time");
    assert_eq!(map.get(&99_999), Some(&99_999));
    assert_eq!(map.get(&1), None);
}

/// SE-5
#[test]
fn the_fifth_wrong_guess_locks_this_account_from_this_address_for_fifteen_minutes() {
    let lockout = lockout();
    let ada = key("ada", "192.0.2.1");
    for left in (1..5).rev() {
        assert_eq!(fail(&lockout, &ada, NOW), Tally::Left(left));
    }
    let until = NOW + QUARTER;
    assert_eq!(fail(&lockout, &ada, NOW), Tally::Locked { until });
    assert_eq!(lockout.reserve(&ada, NOW).err(), Some(Refused::Locked { until }));
    assert_eq!(
        lockout.reserve(&ada, at(899)).err(),
        Some(Refused::Locked { until }),
        "asking does not prolong"
    );
    assert!(
        lockout.reserve(&key("ada", "192.0.2.2"), NOW).is_ok(),
        "the owner elsewhere gets in"
    );
    assert!(
        lockout.reserve(&key("bob", "192.0.2.1"), NOW).is_ok(),
        "so does a neighbour"
    );
    assert_eq!(
        fail(&lockout, &ada, at(900)),
        Tally::Left(4),
        "then it starts again"
    );
}

/// SE-5
#[test]
fn a_right_guess_and_time_both_wipe_the_slate() {
    let lockout = lockout();
    let ada = key("ada", "192.0.2.1");
    for _ in 0..4 {
        fail(&lockout, &ada, NOW);
    }
    lockout.reserve(&ada, NOW).expect("the fifth").success(NOW);
    assert_eq!(fail(&lockout, &ada, NOW), Tally::Left(4));
    assert_eq!(fail(&lockout, &ada, at(899)), Tally::Left(3));
    assert_eq!(fail(&lockout, &ada, at(899 + 900)), Tally::Left(4));
}

/// SE-5: fifty guesses at the same moment are five guesses.
#[test]
fn fifty_guesses_at_once_get_five_permits() {
    let lockout = lockout();
    let ada = key("ada", "192.0.2.1");
    let start = std::sync::Barrier::new(50);
    let results: Vec<Result<Permit, Refused>> = std::thread::scope(|scope| {
        let guess = || {
            start.wait();
            lockout.reserve(&ada, NOW)
        };
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(guess)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let (permits, refusals): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((permits.len(), refusals.len()), (5, 45));
    assert!(
        refusals
            .into_iter()
            .all(|refused| refused.err() == Some(Refused::TooManyAtOnce))
    );
    let tallies: Vec<_> = permits
        .into_iter()
        .flatten()
        .map(|permit| permit.failure(NOW))
        .collect();
    assert_eq!(tallies.last(), Some(&Tally::Locked { until: NOW + QUARTER }));
    assert!(matches!(lockout.reserve(&ada, NOW), Err(Refused::Locked { .. })));
}

#[test]
fn a_dropped_permit_is_a_wrong_guess_and_a_released_one_is_none() {
    let lockout = lockout();
    let ada = key("ada", "192.0.2.1");
    for _ in 0..50 {
        lockout
            .reserve(&ada, NOW)
            .expect("given back each time")
            .release(NOW);
    }
    assert_eq!(lockout.remembered(), 0, "and nothing is remembered of it");
    for _ in 0..5 {
        drop(lockout.reserve(&ada, NOW).expect("a permit"));
    }
    assert_eq!(
        lockout.reserve(&ada, NOW).err(),
        Some(Refused::Locked { until: NOW + QUARTER })
    );
}

#[test]
fn a_right_guess_beside_wrong_ones_does_not_give_more_than_five_at_once() {
    let lockout = lockout();
    let ada = key("ada", "192.0.2.1");
    let mut permits: Vec<Permit> = (0..5)
        .map(|_| lockout.reserve(&ada, NOW).expect("a permit"))
        .collect();
    permits.pop().expect("five").success(NOW);
    let sixth = lockout.reserve(&ada, NOW).expect("one place is free");
    assert_eq!(lockout.reserve(&ada, NOW).err(), Some(Refused::TooManyAtOnce));
    permits.push(sixth);
    let last = permits.into_iter().map(|permit| permit.failure(NOW)).last();
    assert_eq!(last, Some(Tally::Locked { until: NOW + QUARTER }));
}

#[test]
fn a_lock_made_by_a_clock_from_the_future_does_not_last() {
    let lockout = lockout();
    let ada = key("ada", "192.0.2.1");
    for _ in 0..5 {
        fail(&lockout, &ada, at(86_400));
    }
    assert!(lockout.reserve(&ada, at(86_400)).is_err());
    assert!(lockout.reserve(&ada, NOW).is_ok());
}
