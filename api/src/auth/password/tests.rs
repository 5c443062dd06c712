//! SE-4: hashing, its lane and what a flood does to it.

use std::time::{Duration, Instant};

use super::{HashingLane, HashingSettings, LaneError, MAX_PASSWORD_BYTES, Password, Verdict};
use crate::auth::secret::Secret;

const SMALL: HashingSettings = HashingSettings {
    memory_kib: 64,
    iterations: 1,
    lanes: 1,
};

fn lane(settings: HashingSettings) -> HashingLane {
    HashingLane::new(settings, &key("one")).expect("valid parameters")
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).expect("short enough")
}

/// SE-4
#[tokio::test]
async fn the_right_password_matches_and_every_other_does_not() {
    let lane = lane(SMALL);
    let phc = lane
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
    let right = lane.verify(password("correct horse battery"), Some(&phc)).await;
    assert_eq!(right.expect("verified"), Verdict::Match { needs_rehash: false });
    for wrong in [
        "",
        "correct horse batter",
        "Correct horse battery",
        "correct horse battery\0",
        " ",
    ] {
        let verdict = lane.verify(password(wrong), Some(&phc)).await.expect("verified");
        assert_eq!(verdict, Verdict::Mismatch, "{wrong:?}");
    }
}

/// SE-4: two people with the same password have different hashes.
#[tokio::test]
async fn every_hash_has_its_own_salt_of_sixteen_bytes() {
    let lane = lane(SMALL);
    let first = lane
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    let second = lane
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    assert_ne!(first, second);
    assert_eq!(first.split('$').nth(4).map(str::len), Some(22), "{first}");
}

/// SE-4
#[tokio::test]
async fn a_hash_from_older_parameters_matches_and_asks_for_a_new_one() {
    let old = lane(SMALL)
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    let stronger = [
        HashingSettings {
            memory_kib: 128,
            ..SMALL
        },
        HashingSettings {
            iterations: 2,
            ..SMALL
        },
    ];
    for settings in stronger {
        let verdict = lane(settings)
            .verify(password("correct horse battery"), Some(&old))
            .await;
        assert_eq!(verdict.expect("verified"), Verdict::Match { needs_rehash: true });
    }
}

#[tokio::test]
async fn a_hash_of_another_variant_asks_for_a_new_one() {
    let lane = lane(SMALL);
    let params = argon2::Params::new(64, 1, 1, None).expect("valid");
    let secret = key("one");
    let argon2i = argon2::Argon2::new_with_secret(
        secret.expose().as_bytes(),
        argon2::Algorithm::Argon2i,
        argon2::Version::V0x13,
        params,
    )
    .expect("a short key");
    let phc: argon2::password_hash::phc::PasswordHash =
        argon2::PasswordHasher::hash_password_with_salt(&argon2i, b"correct horse battery", &[7; 16])
            .expect("hashed");
    let verdict = lane
        .verify(password("correct horse battery"), Some(&phc.to_string()))
        .await;
    assert_eq!(verdict.expect("verified"), Verdict::Match { needs_rehash: true });
}

/// SE-5: the time of an answer does not tell whether the account exists.
#[tokio::test]
async fn an_unknown_account_costs_the_same_as_a_wrong_password() {
    let lane = lane(HashingSettings {
        memory_kib: 8_192,
        iterations: 2,
        lanes: 1,
    });
    let phc = lane
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for _ in 0..15 {
        for (stored, times) in [(Some(phc.as_str()), &mut known), (None, &mut unknown)] {
            let start = Instant::now();
            let verdict = lane
                .verify(password("some other password"), stored)
                .await
                .expect("verified");
            times.push(start.elapsed());
            assert_eq!(verdict, Verdict::Mismatch);
        }
    }
    // The fastest of many is what the work costs; the rest is the neighbours on this machine.
    let fastest = |times: &[Duration]| times.iter().min().copied().expect("fifteen").as_secs_f64();
    let ratio = fastest(&unknown) / fastest(&known);
    assert!((0.5..2.0).contains(&ratio), "unknown / known = {ratio:.2}");
}

#[tokio::test]
async fn a_stored_text_that_is_no_argon2_hash_is_an_error_and_not_a_mismatch() {
    let lane = lane(SMALL);
    for broken in [
        "",
        "plain",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=64,t=1,p=1$AAAA",
    ] {
        let error = lane
            .verify(password("x"), Some(broken))
            .await
            .expect_err("unreadable");
        assert!(matches!(error, LaneError::UnreadableHash), "{broken}: {error}");
        assert!(!error.to_string().contains("2b"), "{error}");
    }
}

#[test]
fn a_password_is_capped_before_it_is_hashed_and_never_printed() {
    assert!(Password::new("x".repeat(MAX_PASSWORD_BYTES)).is_ok());
    assert!(Password::new("x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    assert_eq!(
        format!("{:?}", password("correct horse battery")),
        "Password(***)"
    );
    assert!(
        Password::new("\u{10ffff}".repeat(256)).is_ok(),
        "256 characters always fit"
    );
}

#[test]
fn parameters_that_argon2_refuses_are_refused_at_the_start() {
    for bad in [
        HashingSettings {
            memory_kib: 1,
            ..SMALL
        },
        HashingSettings {
            iterations: 0,
            ..SMALL
        },
    ] {
        assert!(
            matches!(HashingLane::new(bad, &key("one")), Err(LaneError::Settings(_))),
            "{bad:?}"
        );
    }
}

/// D6: 200 logins at once. Most are shed at once, the runtime's only thread stays free for others.
#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_logins_is_shed_and_leaves_the_runtime_responsive() {
    let lane = lane(HashingSettings {
        memory_kib: 19_456,
        iterations: 2,
        lanes: 1,
    });
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let lane = lane.clone();
            tokio::spawn(async move {
                let start = Instant::now();
                (
                    lane.verify(password("guess guess guess"), None).await,
                    start.elapsed(),
                )
            })
        })
        .collect();
    let ticks = tokio::spawn(async {
        let mut worst = Duration::ZERO;
        for _ in 0..50 {
            let start = Instant::now();
            tokio::time::sleep(Duration::from_millis(2)).await;
            worst = worst.max(start.elapsed());
        }
        worst
    });
    let (mut shed, mut hashed, mut slowest_refusal) = (0, 0, Duration::ZERO);
    for login in flood {
        match login.await.expect("no panic") {
            (Ok(verdict), _) => {
                assert_eq!(verdict, Verdict::Mismatch);
                hashed += 1;
            }
            (Err(LaneError::Busy), took) => {
                slowest_refusal = slowest_refusal.max(took);
                shed += 1;
            }
            (Err(other), _) => panic!("{other}"),
        }
    }
    assert_eq!(hashed + shed, 200);
    // One lane and sixteen places, and what the lane hashes while the flood is still coming in.
    assert!((17..=30).contains(&hashed), "{hashed} were hashed");
    assert!(
        slowest_refusal < Duration::from_millis(50),
        "a refusal took {slowest_refusal:?}"
    );
    let worst = ticks.await.expect("no panic");
    assert!(
        worst < Duration::from_millis(250),
        "the runtime stood still for {worst:?}"
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_leak_its_place() {
    let lane = lane(SMALL);
    for _ in 0..100 {
        let attempt = lane.verify(password("guess guess guess"), None);
        drop(tokio::time::timeout(Duration::ZERO, attempt).await);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while lane.places.available_permits() < 17 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lane.places.available_permits(), 17);
}

fn key(name: &str) -> Secret {
    Secret::new(format!("a key of some length, number {name}"))
}

/// A stolen hash is of no use without the key.
#[tokio::test]
async fn a_hash_verifies_under_its_own_key_only() {
    let settings = HashingSettings {
        memory_kib: 8_192,
        iterations: 1,
        lanes: 1,
    };
    let one = HashingLane::new(settings, &key("one")).expect("a lane");
    let two = HashingLane::new(settings, &key("two")).expect("a lane");
    let typed = || Password::new("Quartz-lamp under forty maples".to_owned()).expect("short enough");
    let hash = one.hash(typed()).await.expect("hashed");
    assert!(matches!(
        one.verify(typed(), Some(&hash)).await,
        Ok(Verdict::Match { .. })
    ));
    assert!(matches!(
        two.verify(typed(), Some(&hash)).await,
        Ok(Verdict::Mismatch)
    ));
}
