//! Snapshots that are not used: of another log, another fold, another installation; changed, cut off, ahead of the log.
//!
//! One rule: a start that does not use one folds the whole log, and answers as it would without any.

use domain::id::UserId;
use time::Duration as Span;

use super::{
    fixture::{Fixture, Stored, at_once, never},
    happenings::Happenings,
};

/// That a start does not use what is kept, and answers as the log says.
async fn not_used(fixture: &Fixture, happenings: &Happenings, what: &str) {
    let (directory, read) = fixture.directory(never()).await;
    assert!(read.whole_log(), "{what}: the log is folded");
    let (folded, _) = fixture.folded().await;
    happenings.same(&directory, &folded, fixture.now());
    fixture.stop(directory).await;
    fixture.stop(folded).await;
}

/// That a start uses what is kept.
async fn used(fixture: &Fixture) {
    let (directory, read) = fixture.directory(never()).await;
    assert!(!read.whole_log());
    fixture.stop(directory).await;
}

/// Somebody writes a role, an administrator or a session into what is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_can_write_to_the_table_gains_no_rights() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(21);
    happenings.record(&fixture, 120).await;
    let user = happenings.active_user(&fixture).await;
    let kept = fixture.kept().await;
    used(&fixture).await;
    let forge = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut content: serde_json::Value = serde_json::from_slice(&kept.content).expect("JSON");
        change(&mut content);
        Stored {
            content: content.to_string().into_bytes(),
            ..kept.clone()
        }
    };
    let id = serde_json::json!(user);
    let forged = [
        (
            "a role",
            forge(&|content| {
                for holding in content["holdings"].as_array_mut().expect("holdings") {
                    holding["roles"] = serde_json::json!(["guest", "manager"]);
                }
            }),
        ),
        (
            "an administrator",
            forge(&|content| {
                content["administrators"]
                    .as_array_mut()
                    .expect("ids")
                    .push(id.clone());
            }),
        ),
        (
            "a session",
            forge(&|content| {
                let session = serde_json::json!([UserId(uuid::Uuid::from_u128(4)), id, 4_000_000_000_i64, 0]);
                content["sessions"]
                    .as_array_mut()
                    .expect("sessions")
                    .push(session);
            }),
        ),
        (
            "a permission",
            forge(&|content| {
                content["roles"][0]["permissions"] = serde_json::json!(["roles.grant", "users.read"]);
            }),
        ),
        ("the same, said otherwise", forge(&|_| ())),
    ];
    for (what, stored) in forged {
        assert_ne!(stored.content, kept.content, "{what}");
        fixture.put(&stored).await;
        not_used(&fixture, &happenings, what).await;
    }
    fixture.put(&kept).await;
    used(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_cut_off_or_made_by_another_fold_is_not_used() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(22);
    happenings.record(&fixture, 120).await;
    let kept = fixture.kept().await;
    let changed = |change: &dyn Fn(&mut Stored)| {
        let mut stored = kept.clone();
        change(&mut stored);
        stored
    };
    let half = kept.content.len() / 2;
    for (what, stored) in [
        ("another fold", changed(&|stored| stored.version += 1)),
        ("an older fold", changed(&|stored| stored.version -= 1)),
        ("cut off", changed(&|stored| stored.content.truncate(half))),
        ("empty", changed(&|stored| stored.content.clear())),
        ("another code", changed(&|stored| stored.code[0] ^= 1)),
        ("another chain", changed(&|stored| stored.chain[31] ^= 1)),
        ("an earlier place", changed(&|stored| stored.position -= 1)),
        ("ahead of the log", changed(&|stored| stored.position += 1)),
        ("far ahead", changed(&|stored| stored.position = i64::MAX)),
    ] {
        fixture.put(&stored).await;
        not_used(&fixture, &happenings, what).await;
    }
    // And the next one that is written is used again.
    happenings.record(&fixture, 30).await;
    fixture.kept().await;
    used(&fixture).await;
}

/// An earlier place under the chain's hash of that place: the code is over both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_cannot_be_moved_to_another_place_of_its_log() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(23);
    happenings.record(&fixture, 40).await;
    let earlier = fixture.kept().await;
    happenings.record(&fixture, 40).await;
    let later = fixture.kept().await;
    let moved = Stored {
        content: earlier.content.clone(),
        code: earlier.code.clone(),
        ..later.clone()
    };
    fixture.put(&moved).await;
    not_used(&fixture, &happenings, "moved").await;
    // As it was, it may be put back: the log tells the rest.
    fixture.put(&earlier).await;
    used(&fixture).await;
    let (directory, _) = fixture.directory(never()).await;
    let (folded, _) = fixture.folded().await;
    happenings.same(&directory, &folded, fixture.now());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_log_or_under_another_key_is_not_used() {
    let (fixture, other) = (Fixture::new().await, Fixture::new().await);
    let (mut happenings, mut others) = (Happenings::of(24), Happenings::of(25));
    happenings.record(&fixture, 60).await;
    others.record(&other, 90).await;
    other.put(&fixture.kept().await).await;
    not_used(&other, &others, "of another log, which has this position").await;
    fixture.put(&other.kept().await).await;
    not_used(&fixture, &happenings, "of another log, which is longer").await;
    fixture.kept().await;
    let (directory, read) = fixture
        .directory_under(b"another installation's secret...", never())
        .await;
    assert!(read.whole_log());
    fixture.stop(directory).await;
}

/// The log was restored from an older backup; the snapshots were not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_ahead_of_a_restored_log_is_not_used_even_when_the_log_has_grown_past_it() {
    let (before, restored) = (Fixture::new().await, Fixture::new().await);
    let mut happenings = Happenings::of(26);
    let user = happenings.active_user(&before).await;
    let lost = happenings.session(&before, user, Span::hours(9)).await;
    let kept = before.kept().await;
    let mut after = Happenings::of(27);
    after.record(&restored, 2).await;
    restored.put(&kept).await;
    not_used(&restored, &after, "shorter").await;
    after.record(&restored, 20).await;
    restored.put(&kept).await;
    not_used(&restored, &after, "grown past it").await;
    let (directory, _) = restored.directory(at_once()).await;
    assert!(directory.session(lost, restored.now()).is_none());
    restored.stop(directory).await;
    used(&restored).await;
}

/// The newest cannot be used: the one before can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_before_is_used_when_the_newest_cannot_be() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(28);
    happenings.record(&fixture, 60).await;
    let earlier = fixture.kept().await;
    happenings.record(&fixture, 60).await;
    let newest = fixture.kept().await;
    assert_eq!(fixture.stored().await.len(), 2);
    sqlx::query("update access_directory_snapshot set code = sha256(code) where number = $1")
        .bind(newest.number)
        .execute(&fixture.pool)
        .await
        .expect("changed");
    let (directory, read) = fixture.directory(never()).await;
    assert_eq!(
        read.lowest().map(|lowest| lowest.0),
        Some(earlier.position.unsigned_abs())
    );
    let (folded, _) = fixture.folded().await;
    happenings.same(&directory, &folded, fixture.now());
}

/// Snapshots are no reason not to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_its_table_folds_the_log() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(29);
    happenings.record(&fixture, 60).await;
    let pool = event_store::postgres::admin_pool(&fixture.database.url, 1)
        .await
        .expect("a pool");
    sqlx::query("drop table access_directory_snapshot")
        .execute(&pool)
        .await
        .expect("dropped");
    not_used(&fixture, &happenings, "no table").await;
    let (directory, _) = fixture.directory(at_once()).await;
    fixture.stop(directory).await;
}
