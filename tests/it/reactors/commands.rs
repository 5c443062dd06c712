//! Effects that are commands: on whose behalf, and once.

use std::sync::Arc;

use domain::{
    decision::{LoadedState, ReadSet},
    event_store::{EventStore as _, Filter, Position, RecordedEvent},
    id::UserId,
    notifications::delivery::RedriveDeliveries,
};
use workers::reactors::{
    Act, AnyReactor, CommandEffect, Context, Effect, ReactError, Reactor, Since, effect_id,
};

use super::fixture::{Fixture, settings};

/// Answers each registration with a command that records something each time it is carried out.
struct Noting;

/// The same on behalf of the account, which may not.
struct Presuming;

fn effect(event: &RecordedEvent, reactor: &str, command: CommandEffect) -> Vec<Effect> {
    vec![Effect {
        id: effect_id(event, reactor, "note"),
        recipient: None,
        act: Act::Command(command),
        gives_up: true,
        not_before: None,
    }]
}

fn command() -> RedriveDeliveries {
    RedriveDeliveries {
        reactor: "test.elsewhere".to_owned(),
        delivery: None,
    }
}

impl Reactor for Noting {
    const NAME: &'static str = "test.noting";
    const KINDS: &'static [&'static str] = &["identity.VerificationRequested"];
    const SINCE: Since = Since::Beginning;
    fn reads(_: &RecordedEvent, _: &LoadedState, _: &Context<'_>, _: &mut ReadSet) {}
    fn react(event: &RecordedEvent, _: &LoadedState, _: &Context<'_>) -> Result<Vec<Effect>, ReactError> {
        Ok(effect(event, Self::NAME, CommandEffect::by_system(command())))
    }
}

impl Reactor for Presuming {
    const NAME: &'static str = "test.presuming";
    const KINDS: &'static [&'static str] = &["identity.VerificationRequested"];
    fn reads(_: &RecordedEvent, _: &LoadedState, _: &Context<'_>, _: &mut ReadSet) {}
    fn react(event: &RecordedEvent, _: &LoadedState, _: &Context<'_>) -> Result<Vec<Effect>, ReactError> {
        let user: UserId = event.stream.key().parse().expect("an account");
        let command = CommandEffect::on_behalf_of(user, command());
        Ok(effect(event, Self::NAME, command))
    }
}

async fn recorded(fixture: &Fixture, kind: &str) -> Vec<RecordedEvent> {
    let filter = Filter {
        kind_prefixes: vec![kind.to_owned()],
        ..Filter::all()
    };
    let page = fixture.store.read_all(Position::START, &filter, 10_000).await;
    page.expect("a page").events
}

/// E1: a command whose checkpoint was lost is carried out again, and recorded once.
#[tokio::test]
async fn a_command_is_recorded_once_though_the_checkpoint_was_lost() {
    let fixture = Fixture::new().await;
    let all: Vec<Arc<dyn AnyReactor>> = vec![Arc::new(Noting)];
    for name in ["ada", "bob"] {
        fixture.register(name).await;
    }
    for round in 0..3 {
        let runner = fixture.run_with(all.clone(), settings()).await;
        fixture.settled().await;
        runner.stopped().await;
        let notes = recorded(&fixture, "notifications.DeliveriesRedriven").await;
        assert_eq!(notes.len(), 2, "round {round}");
        sqlx::query("update reactor_checkpoint set position = 0")
            .execute(&fixture.pool)
            .await
            .expect("lost");
    }
    let notes = recorded(&fixture, "notifications.DeliveriesRedriven").await;
    let causes = recorded(&fixture, "identity.VerificationRequested").await;
    assert_eq!(notes[0].meta.actor, "system:test.noting");
    assert_eq!(notes[0].meta.causation_id, Some(causes[0].id));
    assert_eq!(fixture.deliveries().await, []);
}

/// A command on somebody's behalf is decided on what that person may do: a denial is on record, and not tried again.
#[tokio::test]
async fn a_command_on_somebodys_behalf_is_decided_on_their_rights() {
    let fixture = Fixture::new().await;
    let runner = fixture.run_with(vec![Arc::new(Presuming)], settings()).await;
    let ada = fixture.register("ada").await;
    fixture
        .until("it is given up", async || !fixture.deliveries().await.is_empty())
        .await;
    let (kind, _, attempts, reason, dead) = fixture.deliveries().await.remove(0);
    assert_eq!(
        (kind.as_str(), attempts, reason.as_str(), dead),
        ("command", 1, "the command was denied", true)
    );
    assert_eq!(
        recorded(&fixture, "notifications.DeliveriesRedriven").await.len(),
        0
    );
    let denials = recorded(&fixture, "access.PermissionDenied").await;
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0].meta.on_behalf_of, Some(format!("user:{ada}")));
    runner.stopped().await;
}
