//! Given–when–then: the form of every test here:
//! `given().stream::<Job>(JOB, [queued()]).when(command).by(ada()).then_records([…])`.

use domain::{
    aggregate::{Aggregate, encode},
    authz::{Concealment, Principal},
    execute::Command,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    fixtures::NOW,
    log::{ExpectedEvent, Log, Outcome},
};

/// Nothing has happened yet.
pub(crate) fn given() -> Given {
    Given { log: Log::default() }
}

/// The fact that `event` is recorded about `A` under `key`.
pub(crate) fn expected_event<A: Aggregate>(key: impl std::fmt::Display, event: &A::Event) -> ExpectedEvent {
    let encoded = encode(Uuid::nil(), event).expect("an event can be written");
    let data = serde_json::from_str(encoded.data.get()).expect("payloads are JSON");
    ExpectedEvent {
        stream: A::stream(key),
        kind: encoded.kind,
        data,
    }
}

/// What has happened.
pub(crate) struct Given {
    pub(crate) log: Log,
}

impl Given {
    /// These facts are in that stream.
    pub(crate) fn stream<A: Aggregate>(
        mut self,
        key: impl std::fmt::Display,
        events: impl IntoIterator<Item = A::Event>,
    ) -> Self {
        let events: Vec<A::Event> = events.into_iter().collect();
        self.log.record::<A>(key, &events);
        self
    }

    /// This account is in the log, with exactly these rights.
    pub(crate) fn person(mut self, principal: &Principal) -> Self {
        self.log.person(principal);
        self
    }

    /// This is asked; by a part of the system, at [`NOW`], unless said otherwise.
    pub(crate) fn when<C: Command>(self, command: C) -> When<C> {
        When {
            log: self.log,
            command,
            principal: Principal::System("test"),
            now: NOW,
        }
    }
}

/// What is asked.
pub(crate) struct When<C> {
    log: Log,
    command: C,
    principal: Principal,
    now: OffsetDateTime,
}

impl<C: Command> When<C> {
    /// By this principal.
    pub(crate) fn by(self, principal: Principal) -> Self {
        Self { principal, ..self }
    }

    /// At that moment.
    pub(crate) fn at(self, now: OffsetDateTime) -> Self {
        Self { now, ..self }
    }

    /// Then exactly these facts are recorded, in this order. Answers with the log that results.
    pub(crate) fn then_records(mut self, expected: impl IntoIterator<Item = ExpectedEvent>) -> Given {
        match self.log.run(&self.command, &self.principal, self.now) {
            Outcome::Done(events) => assert_eq!(events, expected.into_iter().collect::<Vec<_>>()),
            Outcome::Refused(reason, _) => panic!("refused: {reason}"),
            Outcome::Denied(denied) => panic!("denied: {denied}"),
        }
        Given { log: self.log }
    }

    /// Then it succeeds, and nothing is recorded: it is already so.
    pub(crate) fn then_already_so(self) -> Given {
        self.then_records([])
    }

    /// Then it is refused for this reason, and nothing is recorded.
    pub(crate) fn then_refused(self, expected: C::Refusal)
    where
        C::Refusal: PartialEq,
    {
        self.then_refused_recording(expected, []);
    }

    /// Then it is refused for this reason, and exactly these facts are recorded about it.
    #[expect(clippy::needless_pass_by_value, reason = "it reads as a sentence")]
    pub(crate) fn then_refused_recording(
        mut self,
        expected: C::Refusal,
        record: impl IntoIterator<Item = ExpectedEvent>,
    ) -> Given
    where
        C::Refusal: PartialEq,
    {
        match self.log.run(&self.command, &self.principal, self.now) {
            Outcome::Refused(reason, events) => {
                assert_eq!(reason, expected);
                assert_eq!(events, record.into_iter().collect::<Vec<_>>());
            }
            Outcome::Done(events) => panic!("not refused, but recorded {events:?}"),
            Outcome::Denied(denied) => panic!("denied: {denied}"),
        }
        Given { log: self.log }
    }

    /// Then the principal may not, by that rule, worded that way.
    pub(crate) fn then_denied(mut self, rule: &str, concealment: Concealment) {
        match self.log.run(&self.command, &self.principal, self.now) {
            Outcome::Denied(denied) => assert_eq!((denied.rule, denied.concealment), (rule, concealment)),
            Outcome::Done(events) => panic!("not denied, but recorded {events:?}"),
            Outcome::Refused(reason, _) => panic!("not denied, but refused: {reason}"),
        }
    }
}
