//! Exports of a log in a database, and their check without one.

use std::{path::PathBuf, sync::atomic::AtomicU64};

use domain::clock::{Clock as _, SystemClock};
use event_store::{
    integrity::{
        Signer, Verifier,
        export::{ExportError, Manifest, verify},
    },
    postgres::ExportOrder,
};

use super::Fixture;

async fn export(
    fixture: &Fixture,
    name: &str,
    range: (Option<u64>, Option<u64>),
) -> Result<(PathBuf, Manifest), ExportError> {
    let key = std::fs::read_to_string(fixture.path("keys/log.key")).expect("a key");
    let signer = Signer::read(&key).expect("a key");
    let target = fixture.path(name);
    let order = ExportOrder {
        target: &target,
        from: range.0,
        to: range.1,
        signer: &signer,
        now: SystemClock.now(),
    };
    fixture
        .store
        .export(order)
        .await
        .map(|manifest| (target.clone(), manifest))
}

async fn fixture() -> (Fixture, Verifier) {
    let fixture = Fixture::new().await;
    let verifier = fixture.signed_in_steps(&[100, 500, 100]).await;
    (fixture, verifier)
}

/// AU-6: the whole log or any part of it, checked with only files and public key.
#[tokio::test]
async fn a_log_is_exported_and_checked_offline() {
    let (fixture, verifier) = fixture().await;
    for (number, range) in [
        (None, None),
        (Some(1), Some(1)),
        (Some(257), Some(512)),
        (Some(600), None),
        (None, Some(699)),
    ]
    .into_iter()
    .enumerate()
    {
        let (folder, manifest) = export(&fixture, &format!("export-{number}"), range)
            .await
            .expect("made");
        let wanted = (range.0.unwrap_or(1), range.1.unwrap_or(700));
        assert_eq!((manifest.from, manifest.to), wanted);
        let verified = verify(&folder, &verifier, &AtomicU64::new(0)).expect("whole");
        assert_eq!((verified.manifest, verified.checkpoint.size), (manifest, 700));
    }
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused_and_leaves_nothing() {
    let (fixture, _) = fixture().await;
    fixture.record(5).await;
    for range in [
        (Some(0), None),
        (Some(5), Some(4)),
        (None, Some(701)),
        (Some(701), None),
    ] {
        let error = export(&fixture, "refused", range).await.expect_err("refused");
        assert!(
            error.to_string().contains("positions 1 to 700 are signed"),
            "{range:?}: {error}"
        );
    }
    export(&fixture, "twice", (None, None)).await.expect("made");
    let error = export(&fixture, "twice", (None, None))
        .await
        .expect_err("there already");
    assert!(matches!(error, ExportError::Exists(_)), "{error}");
    fixture
        .attacker()
        .await
        .run("update event set meta = '{}' where pos = 650")
        .await;
    let error = export(&fixture, "damaged", (None, None))
        .await
        .expect_err("damaged");
    assert!(error.to_string().contains("event 650"), "{error}");
    let left = std::fs::read_dir(fixture.folder.path()).expect("there");
    let left = left.filter(|entry| {
        let name = entry
            .as_ref()
            .expect("one")
            .file_name()
            .to_string_lossy()
            .into_owned();
        name.starts_with("refused") || name.starts_with("damaged") || name.contains("unfinished")
    });
    assert_eq!(left.count(), 0);
}
