//! Effects that fail, hang, lose their answer, or have become pointless.

use domain::{
    authz::Principal,
    event_store::Metadata,
    execute::execute,
    identity::user::{ErasureReason, User, UserEvent},
    notifications::delivery::RedriveDeliveries,
};

use super::fixture::{Fixture, SendFailure, email};

const REACTOR: &str = "identity.registrations";

async fn redrive(fixture: &Fixture, delivery: Option<uuid::Uuid>) {
    let command = RedriveDeliveries {
        reactor: REACTOR.to_owned(),
        delivery,
    };
    let (ports, meta) = (fixture.ports(fixture.store.clone()), Metadata::default());
    let done = execute(&ports, &Principal::System("test"), &meta, &command).await;
    done.expect("recorded");
}

/// NO-3: what always fails is given up after so many tries, holds up nobody, shows no address and no token, and arrives
/// once somebody has it tried again.
#[tokio::test]
async fn what_always_fails_becomes_a_dead_letter_and_holds_up_nobody() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    fixture.post.fail("ada", Some(SendFailure::Refuses));
    let ada = fixture.register("ada").await;
    fixture.register("bob").await;
    fixture.mailed("bob", 1).await;
    fixture
        .until("it is given up", async || {
            fixture.deliveries().await.iter().any(|(.., dead)| *dead)
        })
        .await;
    assert_eq!(
        fixture.deliveries().await,
        [(
            "mail".to_owned(),
            Some(ada.to_string()),
            3,
            "the post office is closed".to_owned(),
            true
        )]
    );
    fixture.register("carol").await;
    fixture.mailed("carol", 1).await;
    let stored: Vec<String> = sqlx::query_scalar(
        "select t::text from reactor_delivery t union all select t::text from reactor_checkpoint t",
    )
    .fetch_all(&fixture.pool)
    .await
    .expect("rows");
    let stored = stored.join("\n");
    assert!(
        !stored.contains(&email("ada")) && !stored.contains("secret-of"),
        "{stored}"
    );
    assert_eq!(fixture.post.to("ada").len(), 0);

    // One that is not given up is left alone; then the right one.
    redrive(&fixture, Some(uuid::Uuid::from_u128(1))).await;
    fixture.post.fail("ada", None);
    redrive(&fixture, None).await;
    let mails = fixture.mailed("ada", 1).await;
    assert!(mails[0].body.contains("secret-of"), "{}", mails[0].body);
    fixture.settled().await;
    assert_eq!(fixture.deliveries().await, []);
    assert_eq!(fixture.post.to("ada").len(), 1);
    runner.stopped().await;
}

/// What will never work is not tried again and again.
#[tokio::test]
async fn what_is_refused_for_good_is_given_up_at_once() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    fixture.post.fail("ada", Some(SendFailure::RefusesForGood));
    fixture.register("ada").await;
    fixture
        .until("it is given up", async || !fixture.deliveries().await.is_empty())
        .await;
    let (_, _, attempts, _, dead) = fixture.deliveries().await.remove(0);
    assert_eq!((attempts, dead), (1, true));
    runner.stopped().await;
}

/// E1: a mail whose answer is lost is handed over again, and its receiver can tell that it is the same.
#[tokio::test]
async fn a_mail_whose_answer_is_lost_comes_again_as_the_same() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    fixture.post.fail("ada", Some(SendFailure::LosesItsAnswer));
    fixture.register("ada").await;
    let mails = fixture.mailed("ada", 2).await;
    fixture.settled().await;
    assert_eq!(
        (mails[0].id, &mails[0].body, mails[0].at),
        (mails[1].id, &mails[1].body, mails[1].at)
    );
    assert_eq!(fixture.post.to("ada").len(), 2);
    runner.stopped().await;
}

/// P2: a server that takes the connection and stays silent holds up nobody for longer than a deadline.
#[tokio::test]
async fn a_silent_post_office_holds_up_nobody() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    for name in ["one", "two", "three"] {
        fixture.post.fail(name, Some(SendFailure::Silent));
        fixture.register(name).await;
    }
    fixture.register("bob").await;
    fixture.mailed("bob", 1).await;
    fixture
        .until("they are given up", async || {
            let found = fixture.deliveries().await;
            found.len() == 3 && found.iter().all(|(.., dead)| *dead)
        })
        .await;
    let reasons = fixture.deliveries().await;
    assert!(
        reasons
            .iter()
            .all(|(_, _, _, reason, _)| reason == "it was not done in time"),
        "{reasons:?}"
    );
    runner.stopped().await;
}

/// AU-7: who was erased while the mail waited gets none, and nothing of it is left to be tried.
#[tokio::test]
async fn who_was_erased_meanwhile_gets_no_mail() {
    let fixture = Fixture::new().await;
    let mut patient = super::fixture::settings();
    patient.attempts = 10_000;
    let runner = fixture.run_with(workers::reactors::all(), patient).await;
    fixture.post.fail("ada", Some(SendFailure::Refuses));
    let ada = fixture.register("ada").await;
    fixture
        .until("it is tried again", async || {
            fixture
                .deliveries()
                .await
                .iter()
                .any(|(_, _, attempts, ..)| *attempts > 1)
        })
        .await;
    let reason = ErasureReason::Requested;
    fixture.record::<User>(ada, &[UserEvent::Erased { reason }]).await;
    fixture
        .until("nothing is left", async || fixture.deliveries().await.is_empty())
        .await;
    fixture.post.fail("ada", None);
    fixture.settled().await;
    assert_eq!(fixture.post.to("ada").len(), 0);
    fixture
        .until("the erasure is called for", async || {
            fixture.erasures.0.lock().expect("unpoisoned").contains(&ada)
        })
        .await;
    runner.stopped().await;
}

/// A mail that was on its way when its person was erased is taken back, as far as it is still here.
#[tokio::test]
async fn a_mail_to_who_is_erased_in_the_middle_is_taken_back() {
    let fixture = Fixture::new().await;
    let mut patient = super::fixture::settings();
    patient.first_try = std::time::Duration::from_secs(20);
    let runner = fixture.run_with(workers::reactors::all(), patient).await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    fixture.post.fail("ada", Some(SendFailure::Waits(gate.clone())));
    let ada = fixture.register("ada").await;
    fixture
        .until("it is under way", async || {
            *fixture.post.asked.lock().expect("unpoisoned") == 1
        })
        .await;
    let reason = ErasureReason::Requested;
    fixture.record::<User>(ada, &[UserEvent::Erased { reason }]).await;
    gate.add_permits(1);
    fixture.settled().await;
    assert_eq!(fixture.post.to("ada").len(), 0);
    runner.stopped().await;
}

/// An event that cannot be answered here waits as a whole, and is answered when it can be.
#[tokio::test]
async fn an_event_that_cannot_be_answered_is_a_dead_letter_until_it_can_be() {
    let fixture = Fixture::new().await;
    let runner = fixture.run().await;
    *fixture.keys.lost.lock().expect("unpoisoned") = true;
    fixture.register("ada").await;
    fixture
        .until("it is given up", async || {
            fixture.deliveries().await.iter().any(|(.., dead)| *dead)
        })
        .await;
    let (kind, recipient, _, reason, _) = fixture.deliveries().await.remove(0);
    assert_eq!((kind.as_str(), recipient), ("event", None));
    assert!(reason.contains("pepper.key"), "{reason}");
    *fixture.keys.lost.lock().expect("unpoisoned") = false;
    redrive(&fixture, None).await;
    fixture.mailed("ada", 1).await;
    fixture.settled().await;
    assert_eq!(fixture.deliveries().await, []);
    runner.stopped().await;
}
