//! What must hold of effects after every run (E1, E3).
//!
//! The rule: nothing here asks the code that ran: the log is compared with the mails that were taken.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    access::ledger::LedgerEvent,
    aggregate::decode,
    event_store::{Position, RecordedEvent},
    identity::user::UserEvent,
};
use uuid::Uuid;
use workers::reactors::{Reactor as _, all, effect_id, identity::Registrations};

use super::super::environment::SimulatedEnvironment;

/// What the reactors have not done yet.
pub(in crate::simulation) fn open(environment: &SimulatedEnvironment, log: &[RecordedEvent]) -> Vec<String> {
    let database = environment.database.borrow();
    let mut open = Vec::new();
    for reactor in all() {
        let (reached, waiting) = database.reactors.state(reactor.name());
        let new = log
            .iter()
            .filter(|event| event.position > reached && reactor.kinds().contains(&event.kind.as_str()));
        if new.count() + waiting > 0 {
            open.push(format!("{} has not done everything", reactor.name()));
        }
    }
    open
}

/// Each registration has its mail unless it became pointless, the same one if it came twice, and nobody is mailed after an
/// erasure; each erasure is completed once.
pub(in crate::simulation) fn broken(
    environment: &SimulatedEnvironment,
    log: &[RecordedEvent],
) -> Vec<String> {
    let mut found = open(environment, log);
    let notes = environment.notes();
    let mut texts: BTreeMap<Uuid, &str> = BTreeMap::new();
    let erased = accounts(log, "identity.PersonErased");
    for mail in &notes.mails {
        if *texts.entry(mail.id).or_insert(&mail.text) != mail.text {
            found.push(format!("the mail {} came with two texts", mail.id));
        }
        let gone = erased.get(&mail.person.to_string());
        if gone.is_some_and(|at| *at <= mail.decided) {
            found.push(format!("{} was mailed after the erasure", mail.person));
        }
    }
    let verified = accounts(log, "identity.EmailVerified");
    let mut known = BTreeSet::new();
    for event in log
        .iter()
        .filter(|event| event.kind == "identity.VerificationRequested")
    {
        let id = effect_id(event, Registrations::NAME, "mail");
        known.insert(id);
        let key = event.stream.key().to_owned();
        let token = matches!(
            decode(event),
            Ok(UserEvent::VerificationRequested { token: Some(_), .. })
        );
        let pointless = verified.contains_key(&key) || erased.contains_key(&key);
        if token && !pointless && !texts.contains_key(&id) {
            found.push(format!("{} was never mailed its token", event.stream));
        }
    }
    for id in texts.keys().filter(|id| !known.contains(id)) {
        found.push(format!("the mail {id} is of no registration"));
    }
    let completed = |stream: &str| {
        let ended = log
            .iter()
            .filter(|event| event.kind == "identity.ErasureCompleted");
        ended.filter(|event| event.stream.key() == stream).count()
    };
    for person in erased.keys().filter(|person| completed(person) != 1) {
        found.push(format!(
            "the erasure of {person} was completed {} times",
            completed(person)
        ));
    }
    found.extend(left_behind(log));
    found
}

/// Room that nobody wants any more and nobody gave back: for each upload the last word must be its release (DS-3).
fn left_behind(log: &[RecordedEvent]) -> Vec<String> {
    let mut open = BTreeMap::new();
    for event in log {
        match decode(event) {
            Ok(LedgerEvent::StorageReserved { item, .. }) => open.insert(item, &event.stream),
            Ok(LedgerEvent::StorageReleased { item }) => open.remove(&item),
            _ => None,
        };
    }
    let open = open.iter();
    open.map(|(item, stream)| format!("the room of {item} in {stream} was never given back"))
        .collect()
}

/// The accounts that have an event of `kind`, and where.
fn accounts(log: &[RecordedEvent], kind: &str) -> BTreeMap<String, Position> {
    let events = log.iter().filter(|event| event.kind == kind);
    events
        .map(|event| (event.stream.key().to_owned(), event.position))
        .collect()
}
