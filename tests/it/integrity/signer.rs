//! The signer: everything is signed soon, once, by one process, on top of what was signed before, or not at all.

use std::time::Duration;

use domain::event_store::EventStore as _;
use event_store::{
    integrity::{Checkpoint, CheckpointFolder, verify_consistency},
    postgres::{IntegrityError, IntegritySettings, SigningState},
};

use super::{Fixture, TIMEOUT, alarm, mode, reached};

/// AU-6, C3: whatever is recorded is signed and exported, also what came last before the end.
#[tokio::test]
async fn everything_that_is_recorded_is_signed_and_exported() {
    let fixture = Fixture::new().await;
    fixture.record(3).await;
    let integrity = fixture.start().await;
    reached(&integrity, 3).await;
    fixture.record(600).await;
    reached(&integrity, 603).await;
    let verifier = integrity.verifier().clone();
    fixture.record(5).await;
    integrity.close(TIMEOUT).await;
    let folder = CheckpointFolder::new(fixture.path("checkpoints"));
    let newest = folder.latest(&verifier).expect("readable").expect("there");
    assert_eq!((newest.size, newest.origin.as_str()), (608, "log.example/test"));
    let sizes: Vec<u64> = folder
        .contents()
        .expect("readable")
        .notes
        .iter()
        .map(|note| Checkpoint::open(note, &verifier).expect("signed").size)
        .collect();
    assert!(sizes.is_sorted(), "{sizes:?}");
    let verified = fixture
        .store
        .audit(&fixture.evidence(&verifier))
        .await
        .expect("whole");
    assert_eq!((verified.tip.position, verified.signed), (608, 608));
    assert_eq!(verified.root, newest.root);
    assert_eq!(mode(&fixture.path("keys/log.key")), 0o600);
}

/// A restart goes on where the last one ended; the roots fit, and proofs join all sizes.
#[tokio::test]
async fn a_restart_goes_on_with_the_same_tree() {
    let fixture = Fixture::new().await;
    let mut newest = Vec::new();
    for events in [1, 254, 1, 1, 700] {
        fixture.record(events).await;
        let integrity = fixture.start().await;
        reached(&integrity, fixture.store.known_head().0).await;
        let checkpoint = integrity.latest().await.expect("readable").expect("signed");
        assert_eq!(checkpoint.size, fixture.store.known_head().0);
        for old in &newest {
            let old: &Checkpoint = old;
            let proof = integrity
                .consistency(old.size, checkpoint.size)
                .await
                .expect("a proof");
            assert_eq!((proof.from.1, proof.to.1), (old.root, checkpoint.root));
            let (from, to) = ((old.size, &old.root), (checkpoint.size, &checkpoint.root));
            assert!(verify_consistency(from, to, &proof.hashes));
        }
        newest.push(checkpoint);
        integrity.close(TIMEOUT).await;
    }
}

/// Of several processes one signs, and another takes over when it ends.
#[tokio::test]
async fn one_process_signs_and_another_takes_over() {
    let fixture = Fixture::new().await;
    fixture.record(2).await;
    let first = fixture.start().await;
    reached(&first, 2).await;
    let second = fixture.start().await;
    let standby = async {
        while second.state() != SigningState::Standby {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, standby)
        .await
        .expect("it stands by");
    fixture.record(2).await;
    reached(&first, 4).await;
    assert_eq!(second.state(), SigningState::Standby);
    first.close(TIMEOUT).await;
    fixture.record(2).await;
    reached(&second, 6).await;
    second.close(TIMEOUT).await;
}

/// Without the key that signed before, nothing starts.
#[tokio::test]
async fn a_missing_or_other_key_begins_no_second_history() {
    let fixture = Fixture::new().await;
    fixture.record(2).await;
    fixture.sign().await;
    let key = fixture.path("keys/log.key");
    let kept = std::fs::read(&key).expect("readable");
    std::fs::remove_file(&key).expect("removed");
    let error = fixture.try_start(fixture.settings()).await.expect_err("no key");
    assert!(error.to_string().contains("second history"), "{error}");
    assert!(!key.exists());
    // The key of another log of the same name.
    let other = Fixture::new().await;
    other.record(1).await;
    other.sign().await;
    std::fs::copy(other.path("keys/log.key"), &key).expect("copied");
    let error = fixture
        .try_start(fixture.settings())
        .await
        .expect_err("another key");
    assert!(error.to_string().contains("did not sign"), "{error}");
    let renamed = IntegritySettings {
        origin: Some("log.example/other".to_owned()),
        ..fixture.settings()
    };
    std::fs::write(&key, kept).expect("written");
    let error = fixture.try_start(renamed).await.expect_err("another name");
    assert!(matches!(error, IntegrityError::Key(_)), "{error}");
    let integrity = fixture.start().await;
    reached(&integrity, 2).await;
    integrity.close(TIMEOUT).await;
}

/// A log that does not fit what was signed is not signed on top of: one attack each, on a log of its own.
#[tokio::test]
async fn a_log_that_does_not_fit_what_was_signed_raises_the_alarm() {
    let attacks: [(&[&str], &str); 6] = [
        (
            &[
                "delete from event where pos > 250",
                "update event_head set pos = 250, hash = (select hash from event where pos = 250)",
            ],
            "ends at 250, but 300 events are signed",
        ),
        (
            &[
                "delete from event where pos > 250",
                "update event_head set pos = 250, hash = (select hash from event where pos = 250)",
                "delete from event_tree_head where size > 250",
                "delete from event_tree_tile",
            ],
            "the database only up to 250",
        ),
        (
            &["delete from event_tree_head", "delete from event_tree_tile"],
            "none is recorded",
        ),
        (
            &["update event_tree_tile set root = sha256('x')"],
            "does not have the root",
        ),
        (
            &["update event set kind = 'test.Other' where pos = 290"],
            "does not have the root",
        ),
        (
            // A note that the key did not sign is already refused at the start.
            &["update event_tree_head set note = replace(note, 'log.example', 'log.elsewhere')"],
            "did not sign",
        ),
    ];
    for (statements, expected) in attacks {
        let fixture = Fixture::new().await;
        fixture.signed_in_steps(&[250, 50]).await;
        let attacker = fixture.attacker().await;
        for statement in statements {
            attacker.run(statement).await;
        }
        let started = fixture.try_start(fixture.settings()).await;
        let said = match started {
            Ok(integrity) => alarm(&integrity).await,
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{statements:?}: {said}");
        let heads: i64 = sqlx::query_scalar("select count(*) from event_tree_head where size > 300")
            .fetch_one(&attacker.0)
            .await
            .expect("readable");
        assert_eq!(heads, 0);
    }
}

/// The checkpoint of another log in the folder of exports.
#[tokio::test]
async fn a_checkpoint_of_another_log_raises_the_alarm() {
    let fixture = Fixture::new().await;
    fixture.record(2).await;
    fixture.sign().await;
    let other = Fixture::new().await;
    other.record(9).await;
    let settings = IntegritySettings {
        origin: Some("log.example/other".to_owned()),
        ..other.settings()
    };
    let integrity = other.try_start(settings).await.expect("started");
    reached(&integrity, 9).await;
    integrity.close(TIMEOUT).await;
    std::fs::copy(
        other.path("checkpoints/checkpoint"),
        fixture.path("checkpoints/checkpoint"),
    )
    .expect("copied");
    let integrity = fixture.start().await;
    let why = alarm(&integrity).await;
    assert!(why.contains("another log: log.example/other"), "{why}");
}

/// An event that is changed while the signer runs, before it signs it.
#[tokio::test]
async fn a_broken_chain_is_not_signed() {
    let fixture = Fixture::new().await;
    fixture.record(2).await;
    fixture.sign().await;
    fixture.record(3).await;
    fixture
        .attacker()
        .await
        .run("update event set meta = '{}' where pos = 4")
        .await;
    let integrity = fixture.start().await;
    let why = alarm(&integrity).await;
    assert!(why.contains("event 4"), "{why}");
}
