//! What the time of a login tells, and what a flood of them costs (SE-4, SE-5).
//!
//! The yardstick of everything is hashing a wrong password of an account that exists.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use api::auth::{
    password::{HashingPool, HashingPoolError, HashingSettings, MAX_WAITING, Password, Verdict},
    secret::Secret,
};
use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::{
    numbers::{median, milliseconds, rounded},
    scale::Scale,
};

/// Logins of each kind in a round.
const LOGINS: usize = 15;

/// Measures a hashing_pool of its own with the shipped parameters.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let settings = HashingSettings {
        concurrency: 1,
        ..HashingSettings::default()
    };
    let hashing_pool = HashingPool::new(settings, &Secret::new("a key of some length".to_owned()))?;
    let stored = hashing_pool.hash(typed()?).await?;
    let (mut known, mut unknown, mut shed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds * LOGINS {
        known.push(login(&hashing_pool, Some(&stored)).await?);
        unknown.push(login(&hashing_pool, None).await?);
        shed.push(turned_away(&hashing_pool, &stored).await?);
    }
    // What the work costs is the fastest of many; the rest is the neighbours on this machine.
    let fastest = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let ratio = fastest(&unknown) / fastest(&known);
    Ok(json!({
        "unit": "ms",
        "known_ms": rounded(fastest(&known)),
        "unknown_ms": rounded(fastest(&unknown)),
        "apart": rounded(ratio.max(1.0 / ratio)),
        "shed_ms": rounded(median(shed.clone())),
        "shed_ratio": rounded(median(shed) / fastest(&known)),
    }))
}

fn typed() -> Result<Password> {
    Password::new("some other password".to_owned()).context("short enough")
}

/// Milliseconds of a login with a wrong password.
async fn login(hashing_pool: &HashingPool, stored: Option<&str>) -> Result<f64> {
    let wrong = Password::new("guess guess guess".to_owned())?;
    let begun = Instant::now();
    let verdict = hashing_pool.verify(wrong, stored).await?;
    let took = milliseconds(begun.elapsed());
    ensure!(verdict == Verdict::Mismatch, "a guess was right");
    Ok(took)
}

/// Milliseconds until a login is turned away, because all places are taken.
async fn turned_away(hashing_pool: &HashingPool, stored: &str) -> Result<f64> {
    let mut taken = Vec::new();
    for _ in 0..=MAX_WAITING {
        let mut login = hashing_pool.verify(typed()?, Some(stored)).boxed();
        ensure!(
            (&mut login).now_or_never().is_none(),
            "it does not wait for its hash"
        );
        taken.push(login);
    }
    let begun = Instant::now();
    let refused = hashing_pool.verify(typed()?, Some(stored)).now_or_never();
    let took = milliseconds(begun.elapsed());
    ensure!(
        matches!(refused, Some(Err(HashingPoolError::Busy))),
        "it was not turned away: {refused:?}"
    );
    // The first is being hashed, whoever waits for it; the next round has to find the hashing_pool empty.
    taken.truncate(1);
    for hashed in taken {
        hashed.await?;
    }
    Ok(took)
}
