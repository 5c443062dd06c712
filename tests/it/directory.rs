//! The access directory started from a snapshot: the same rights as from the log, or the snapshot is not used (AC-1, SE-4).
//!
//! One rule: what a start has read of the log is counted, so that a snapshot that should not be used is seen not to be.

mod fixture;
mod happenings;
mod reading;
mod refused;
mod running;

use std::time::Duration;

use domain::identity::session::{Session, SessionEvent};
use time::Duration as Span;

use self::{
    fixture::{Fixture, at_once, never},
    happenings::Happenings,
};

/// Whatever happens to accounts, sessions and roles, in whatever order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_from_a_snapshot_gives_the_rights_that_the_log_gives() {
    for seed in 1..=5 {
        let fixture = Fixture::new().await;
        let mut happenings = Happenings::of(seed);
        for round in 0..8 {
            happenings.record(&fixture, 40).await;
            fixture.clock.advance(Span::minutes(20));
            let (kept, read) = fixture.directory(at_once()).await;
            assert_eq!(read.whole_log(), round == 0, "seed {seed}, round {round}");
            let (folded, _) = fixture.folded().await;
            happenings.same(&kept, &folded, fixture.now());
            // Rights also change between a start and its end.
            happenings.record(&fixture, 10).await;
            kept.at_head().await;
            fixture.stop(kept).await;
            fixture.stop(folded).await;
        }
    }
}

/// What a snapshot holds of a person are ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_holds_nothing_personal() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(99);
    happenings.record(&fixture, 300).await;
    let text = String::from_utf8(fixture.kept().await.content).expect("JSON");
    assert!(text.contains("argon2id"), "it has what passwords are hashed with");
    for word in ["canary", "example.org", "c2FsdHNhbHQ", "aGFzaGhhc2g"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_over_or_revoked_is_not_back_after_a_start() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(7);
    let user = happenings.active_user(&fixture).await;
    let over = happenings.session(&fixture, user, Span::minutes(5)).await;
    let revoked = happenings.session(&fixture, user, Span::hours(5)).await;
    let open = happenings.session(&fixture, user, Span::hours(5)).await;
    fixture.kept().await;
    let cause = "revoked".to_owned();
    fixture
        .record::<Session>(revoked, &SessionEvent::Revoked { cause })
        .await;
    fixture.clock.advance(Span::minutes(6));
    // Nothing of accounts: the time of the log goes on all the same.
    fixture.another_event().await;
    let (directory, read) = fixture.directory(never()).await;
    assert!(!read.whole_log());
    assert!(directory.session(open, fixture.now()).is_some());
    assert!(directory.session(revoked, fixture.now()).is_none());
    assert!(directory.session(over, fixture.now()).is_none());
    let earlier = fixture.now() - Span::minutes(6);
    assert!(
        directory.session(over, earlier).is_none(),
        "the time of the log counts, however late the clock is"
    );
    fixture.stop(directory).await;
}

/// Two processes find the same snapshot due; neither harms the other, and the table stays small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_write_snapshots_at_once_do_not_harm_each_other() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(3);
    happenings.record(&fixture, 50).await;
    let starts = (0..4).map(|_| fixture.directory(at_once()));
    let all = futures::future::join_all(starts).await;
    for _ in 0..20 {
        happenings.record(&fixture, 20).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    futures::future::join_all(all.into_iter().map(|(directory, _)| fixture.stop(directory))).await;
    let rows = fixture.positions().await;
    assert!((1..=2).contains(&rows.len()), "{rows:?}");
    let (kept, read) = fixture.directory(never()).await;
    assert!(!read.whole_log());
    let (folded, _) = fixture.folded().await;
    happenings.same(&kept, &folded, fixture.now());
    fixture.stop(kept).await;
    fixture.stop(folded).await;
}

/// So a process that is killed leaves one too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_follow_the_log_while_the_system_runs() {
    let fixture = Fixture::new().await;
    let mut happenings = Happenings::of(5);
    let (directory, _) = fixture.directory(at_once()).await;
    happenings.record(&fixture, 200).await;
    let head = fixture.head().await;
    let waiting = async {
        while fixture.positions().await.first().copied().unwrap_or_default() + 120 < head.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("a snapshot");
    drop(directory);
    let (again, read) = fixture.directory(never()).await;
    assert!(!read.whole_log());
    fixture.stop(again).await;
}

/// KurrentDB keeps no chain, nor does the log in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_chain_is_folded_and_nothing_is_kept() {
    let fixture = Fixture::in_memory().await;
    let mut happenings = Happenings::of(11);
    happenings.record(&fixture, 100).await;
    for _ in 0..2 {
        let (directory, read) = fixture.directory(at_once()).await;
        assert!(read.whole_log());
        let (folded, _) = fixture.folded().await;
        happenings.same(&directory, &folded, fixture.now());
        fixture.stop(directory).await;
        fixture.stop(folded).await;
    }
    assert_eq!(fixture.positions().await, Vec::<u64>::new());
}
