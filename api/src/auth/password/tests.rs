//! SE-4: hashing, its pool and a flood of logins.

use std::task::Poll;
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use super::{
    HashingPool, HashingPoolError, HashingSettings, MAX_PASSWORD_BYTES, MAX_WAITING, Password, Verdict,
};
use crate::auth::secret::Secret;

const SMALL: HashingSettings = HashingSettings {
    memory_kib: 64,
    iterations: 1,
    concurrency: 1,
};

fn pool(settings: HashingSettings) -> HashingPool {
    HashingPool::new(settings, &key("one")).expect("valid parameters")
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).expect("short enough")
}

/// SE-4
#[tokio::test]
async fn the_right_password_matches_and_every_other_does_not() {
    let pool = pool(SMALL);
    let phc = pool
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
    let right = pool.verify(password("correct horse battery"), Some(&phc)).await;
    assert_eq!(right.expect("verified"), Verdict::Match { needs_rehash: false });
    for wrong in [
        "",
        "correct horse batter",
        "Correct horse battery",
        "correct horse battery\0",
        " ",
    ] {
        let verdict = pool.verify(password(wrong), Some(&phc)).await.expect("verified");
        assert_eq!(verdict, Verdict::Mismatch, "{wrong:?}");
    }
}

/// SE-4: two people with the same password have different hashes.
#[tokio::test]
async fn every_hash_has_its_own_salt_of_sixteen_bytes() {
    let pool = pool(SMALL);
    let first = pool
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    let second = pool
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    assert_ne!(first, second);
    assert_eq!(first.split('$').nth(4).map(str::len), Some(22), "{first}");
}

/// SE-4
#[tokio::test]
async fn a_hash_from_older_parameters_matches_and_asks_for_a_new_one() {
    let old = pool(SMALL)
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
        let verdict = pool(settings)
            .verify(password("correct horse battery"), Some(&old))
            .await;
        assert_eq!(verdict.expect("verified"), Verdict::Match { needs_rehash: true });
    }
}

#[tokio::test]
async fn a_hash_of_another_variant_asks_for_a_new_one() {
    let pool = pool(SMALL);
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
    let verdict = pool
        .verify(password("correct horse battery"), Some(&phc.to_string()))
        .await;
    assert_eq!(verdict.expect("verified"), Verdict::Match { needs_rehash: true });
}

/// SE-5: the time of an answer does not tell whether the account exists, because the same is computed for both. That
/// it takes as long is a figure of `tests/benches`.
#[tokio::test]
async fn an_unknown_account_is_hashed_with_the_parameters_of_a_wrong_password() {
    let settings = HashingSettings {
        memory_kib: 128,
        iterations: 2,
        concurrency: 1,
    };
    let mut pool = pool(settings);
    let stored = pool
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    let work = |phc: &str| {
        let hash = argon2::password_hash::phc::PasswordHash::new(phc).expect("a PHC string");
        let params = argon2::Params::try_from(&hash).expect("Argon2's parameters");
        let lengths = [hash.salt.expect("a salt").len(), hash.hash.expect("a hash").len()];
        (hash.algorithm.to_string(), hash.version, params, lengths)
    };
    assert_eq!(work(&pool.stand_in), work(&stored));
    let verdict = pool.verify(password("some other password"), None).await;
    assert_eq!(verdict.expect("verified"), Verdict::Mismatch);
    // It is the stand-in that is hashed: one that Argon2 refuses is noticed.
    pool.stand_in = pool.stand_in.replace("t=2", "t=0").into();
    let refused = pool.verify(password("some other password"), None).await;
    assert!(
        matches!(refused, Err(HashingPoolError::UnreadableHash)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_stored_text_that_is_no_argon2_hash_is_an_error_and_not_a_mismatch() {
    let pool = pool(SMALL);
    for broken in [
        "",
        "plain",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=64,t=1,p=1$AAAA",
    ] {
        let error = pool
            .verify(password("x"), Some(broken))
            .await
            .expect_err("unreadable");
        assert!(
            matches!(error, HashingPoolError::UnreadableHash),
            "{broken}: {error}"
        );
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
            matches!(
                HashingPool::new(bad, &key("one")),
                Err(HashingPoolError::Settings(_))
            ),
            "{bad:?}"
        );
    }
}

/// D6: 200 logins at once while the only worker is busy. As many as have places wait for it; the others are turned away
/// at the first look at them, so they wait for nothing.
#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_logins_is_shed_at_once() {
    let pool = pool(SMALL);
    let stored = pool
        .hash(password("correct horse battery"))
        .await
        .expect("hashed");
    let busy = pool.workers.acquire().await.expect("a worker");
    let (mut shed, mut waiting) = (0, Vec::new());
    for _ in 0..200 {
        let mut login = pool.verify(password("guess guess guess"), Some(&stored)).boxed();
        match futures::poll!(&mut login) {
            Poll::Ready(Err(HashingPoolError::Busy)) => shed += 1,
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => waiting.push(login),
        }
    }
    assert_eq!((shed, waiting.len()), (200 - 1 - MAX_WAITING, 1 + MAX_WAITING));
    drop(busy);
    for login in futures::future::join_all(waiting).await {
        assert_eq!(login.expect("verified"), Verdict::Mismatch);
    }
}

/// D6: the runtime's threads stay free for others while a password is hashed.
#[tokio::test(flavor = "current_thread")]
async fn passwords_are_hashed_beside_the_runtime() {
    let hashed_on = pool(SMALL).in_pool(|| Ok(std::thread::current().id())).await;
    assert_ne!(hashed_on.expect("it ran"), std::thread::current().id());
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_leak_its_place() {
    let pool = pool(SMALL);
    for _ in 0..100 {
        let attempt = pool.verify(password("guess guess guess"), None);
        drop(tokio::time::timeout(Duration::ZERO, attempt).await);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while pool.places.available_permits() < 17 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(pool.places.available_permits(), 17);
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
        concurrency: 1,
    };
    let one = HashingPool::new(settings, &key("one")).expect("a lane");
    let two = HashingPool::new(settings, &key("two")).expect("a lane");
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
