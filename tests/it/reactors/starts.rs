//! From which event on a reactor answers, and what a restart repeats.

use domain::identity::user::{ErasureReason, User, UserEvent};

use super::fixture::Fixture;

/// An upgrade mails nobody about what was before; what has to be done however old it is, is done.
#[tokio::test]
async fn a_first_start_mails_nobody_about_the_past_and_completes_old_erasures() {
    let fixture = Fixture::new().await;
    for number in 0..5 {
        fixture.register(&format!("old{number}")).await;
    }
    let gone = fixture.register("gone").await;
    let reason = ErasureReason::Requested;
    fixture
        .record::<User>(gone, &[UserEvent::Erased { reason }])
        .await;
    let runner = fixture.run().await;
    fixture.register("new").await;
    fixture.mailed("new", 1).await;
    fixture.settled().await;
    assert_eq!(fixture.post.taken.lock().expect("unpoisoned").len(), 1);
    assert_eq!(*fixture.erasures.0.lock().expect("unpoisoned"), [gone]);
    runner.stopped().await;
}

/// Nothing is done again by a restart, and nothing is left out that was recorded while nobody ran.
#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    fixture.register("ada").await;
    fixture.mailed("ada", 1).await;
    fixture.settled().await;
    runner.stopped().await;
    fixture.register("bob").await;
    let runner = fixture.run().await;
    fixture.mailed("bob", 1).await;
    fixture.settled().await;
    assert_eq!(fixture.post.taken.lock().expect("unpoisoned").len(), 2);
    runner.stopped().await;
}

/// What an earlier build recorded was mailed by it.
#[tokio::test]
async fn an_event_without_the_id_of_its_token_is_not_mailed() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    let ada = fixture.register("ada").await;
    fixture.mailed("ada", 1).await;
    let requested = UserEvent::VerificationRequested {
        token_hash: "of an earlier build".to_owned(),
        expires_at: time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(365 * 200),
        token: None,
    };
    fixture.record::<User>(ada, &[requested]).await;
    fixture.register("bob").await;
    fixture.mailed("bob", 1).await;
    fixture.settled().await;
    assert_eq!(fixture.post.to("ada").len(), 1);
    runner.stopped().await;
}
