//! Several processes over one database: one runs the reactors, and another goes on when it is gone.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::fixture::{Fixture, SendFailure, settings};

async fn rounds(fixture: &Fixture, names: impl Iterator<Item = String>) {
    for name in names {
        fixture.register(&name).await;
        fixture.mailed(&name, 1).await;
    }
    fixture.settled().await;
}

/// Each effect once with two processes at the same time, and once when the one that did it hands over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_do_everything_once() {
    let fixture = Fixture::new().await;
    let (one, other) = (fixture.run().await, fixture.run().await);
    let name = |number: usize| format!("person{number}");
    rounds(&fixture, (0..12).map(name)).await;
    one.stopped().await;
    rounds(&fixture, (12..24).map(name)).await;
    let third = fixture.run().await;
    other.stopped().await;
    rounds(&fixture, (24..36).map(name)).await;
    for number in 0..36 {
        assert_eq!(fixture.post.to(&name(number)).len(), 1, "{number}");
    }
    third.stopped().await;
}

/// E1: one that is killed leaves its lease at once, and what it was at is done by the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_owner_was_at_is_done_by_the_next() {
    let fixture = Fixture::new().await;
    let mut patient = settings();
    patient.first_try = std::time::Duration::from_secs(20);
    let one = fixture.run_with(workers::reactors::all(), patient).await;
    fixture.post.fail("ada", Some(SendFailure::Silent));
    fixture.register("ada").await;
    fixture
        .until("it is at it", async || {
            *fixture.post.asked.lock().expect("unpoisoned") == 1
        })
        .await;
    one.killed().await;
    fixture.post.fail("ada", None);
    let next = fixture.run().await;
    fixture.mailed("ada", 1).await;
    fixture.settled().await;
    assert_eq!(fixture.post.to("ada").len(), 1);
    next.stopped().await;
}

/// E2: one that stood still past its lease does not move the checkpoint and writes down nothing when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_lease_in_the_middle_of_an_effect_writes_nothing() {
    let fixture = Fixture::new().await;
    let mut patient = settings();
    patient.first_try = std::time::Duration::from_secs(60);
    let gate = Arc::new(Semaphore::new(0));
    let frozen = fixture.run_with(workers::reactors::all(), patient).await;
    fixture.post.fail("ada", Some(SendFailure::Waits(gate.clone())));
    fixture.register("ada").await;
    fixture
        .until("it is at it", async || {
            *fixture.post.asked.lock().expect("unpoisoned") == 1
        })
        .await;
    // Another has it now, as when this one had stood still.
    sqlx::query(
        "update projection_lease set epoch = epoch + 1, expires_at = '-infinity' where name = 'reactors'",
    )
    .execute(&fixture.pool)
    .await
    .expect("taken");
    fixture.post.fail("ada", None);
    let next = fixture.run().await;
    fixture.mailed("ada", 1).await;
    fixture.settled().await;
    let at: Vec<i64> = positions(&fixture).await;
    gate.add_permits(1);
    fixture.register("bob").await;
    fixture.mailed("bob", 1).await;
    fixture.settled().await;
    assert!(positions(&fixture).await >= at);
    let mails = fixture.post.to("ada");
    assert!(
        mails.iter().all(|mail| mail.id == mails[0].id),
        "the same mail, if it comes twice"
    );
    assert_eq!(fixture.deliveries().await, []);
    assert_eq!(fixture.post.to("bob").len(), 1);
    frozen.stopped().await;
    next.stopped().await;
}

async fn positions(fixture: &Fixture) -> Vec<i64> {
    sqlx::query_scalar("select position from reactor_checkpoint order by reactor")
        .fetch_all(&fixture.pool)
        .await
        .expect("positions")
}
