//! What must hold after every run, whatever went wrong in it (spec 11, E1 and E3; I1 to I9).
//!
//! The rule: nothing here asks the code that ran. The log is read past all faults and compared with what the
//! processes were told, with itself, and with the rows that projections left behind.

use std::collections::{BTreeMap, BTreeSet};

use anneal::verify;
use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quota, Quotas},
    },
    aggregate::{Aggregate, decode},
    authz::{AccountState, Action, Principal},
    event_store::{Position, RecordedEvent, StreamId},
    id::UserId,
    jobs::job::{Job, JobEvent, JobState},
};
use projections::access::directory::Rights;
use uuid::Uuid;

use super::{database::Stored, database::read_models, environment::SimulatedEnvironment, reactors};

/// Everything that is broken; empty when all is well.
pub(super) fn broken(environment: &SimulatedEnvironment) -> Vec<String> {
    let log = environment.store.recorded();
    let mut found = environment.notes().violations.clone();
    found.extend(
        verify::contradictions(&log)
            .into_iter()
            .map(|finding| finding.what),
    );
    found.extend(sequence(&log));
    found.extend(promises(environment, &log));
    found.extend(permissions(environment, &log));
    found.extend(leases(&log));
    found.extend(unfinished(&log));
    found.extend(rows(environment, &log));
    found.extend(reactors::broken(environment, &log));
    // Some of the checks walk through maps; what is told must be the same in every run.
    found.sort();
    found.dedup();
    found
}

/// I2: revisions without gaps, positions and times that ascend.
fn sequence(log: &[RecordedEvent]) -> Vec<String> {
    let mut found = Vec::new();
    let mut next: BTreeMap<&StreamId, u64> = BTreeMap::new();
    for event in log {
        let revision = next.entry(&event.stream).or_default();
        if event.revision != *revision {
            found.push(format!(
                "{} has revision {} for {revision}",
                event.stream, event.revision
            ));
        }
        *revision += 1;
    }
    if !log.is_sorted_by(|one, next| one.position < next.position && one.at <= next.at) {
        found.push("positions or times run backwards".to_owned());
    }
    found
}

/// I1 and I3: what was acknowledged is there once, whole, where it was said to be; the rest at most once, whole, and
/// nothing that nobody sent.
fn promises(environment: &SimulatedEnvironment, log: &[RecordedEvent]) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: BTreeMap<Uuid, Vec<Position>> = BTreeMap::new();
    for event in log {
        places.entry(event.id).or_default().push(event.position);
    }
    for (id, places) in places.iter().filter(|(_, places)| places.len() > 1) {
        found.push(format!("event {id} is recorded {} times", places.len()));
    }
    let notes = environment.notes();
    for (ids, position) in &notes.acknowledged {
        let last = ids
            .last()
            .and_then(|id| places.get(id))
            .and_then(|places| places.last());
        if !ids.iter().all(|id| places.contains_key(id)) {
            found.push(format!(
                "an append of {ids:?} was acknowledged at {position} and is not recorded"
            ));
        } else if !ids.iter().any(|id| places[id].contains(position)) {
            found.push(format!(
                "an append was acknowledged at {position} and lies at {last:?}"
            ));
        }
    }
    for ids in &notes.sent {
        let there = ids.iter().filter(|id| places.contains_key(id)).count();
        if there != 0 && there != ids.len() {
            found.push(format!(
                "{there} of the {} events of one append are recorded",
                ids.len()
            ));
        }
    }
    let sent: BTreeSet<&Uuid> = notes.sent.iter().flatten().collect();
    for id in places.keys().filter(|id| !sent.contains(id)) {
        found.push(format!("event {id} was never sent"));
    }
    found
}

/// What a user may do at one place of the log.
#[derive(Clone, Debug, PartialEq)]
struct UserRights {
    since: Position,
    active: bool,
    trains: bool,
    limits: BTreeMap<Quota, Option<u32>>,
}

const QUOTAS: [Quota; 3] = [Quota::Projects, Quota::Datasets, Quota::ConcurrentJobs];

fn user_rights(rights: &Rights, user: UserId, since: Position) -> UserRights {
    let principal = rights.user(user).unwrap_or(Principal::Anonymous);
    let limits = match &principal {
        Principal::User(user) => user.quotas,
        _ => Quotas::NOTHING,
    };
    UserRights {
        since,
        active: matches!(&principal, Principal::User(user) if user.account == AccountState::Active),
        trains: principal.holds(Action::TrainingCreate),
        limits: QUOTAS.map(|quota| (quota, limits.limit(quota))).into(),
    }
}

/// I9 and QU-1: what was recorded for a user was permitted, and within the quota of the ledger's owner, at its own place in
/// the log: right before the append that recorded it.
fn permissions(environment: &SimulatedEnvironment, log: &[RecordedEvent]) -> Vec<String> {
    let notes = environment.notes();
    let users: BTreeSet<UserId> = notes.requests.values().map(|(user, _)| *user).collect();
    let mut rights = Rights::default();
    let mut rights_by_user: BTreeMap<UserId, Vec<UserRights>> = BTreeMap::new();
    let mut ledgers: BTreeMap<&StreamId, QuotaLedger> = BTreeMap::new();
    let mut found = Vec::new();
    let places: BTreeMap<Uuid, Position> = log.iter().map(|event| (event.id, event.position)).collect();
    for event in log {
        if let Some((user, first)) = notes.requests.get(&event.id) {
            let appended = places.get(first).copied().unwrap_or(event.position);
            let before = |who: &UserId| {
                let known = rights_by_user.get(who).map_or(&[][..], Vec::as_slice);
                known.iter().rfind(|user_rights| user_rights.since < appended)
            };
            let owner = ledger_owner(event).unwrap_or(*user);
            let permitted = before(user).is_some_and(|actor| allows(actor, event))
                && before(&owner).is_some_and(|owner| within(owner, event, &ledgers));
            if !permitted && event.kind != "access.PermissionDenied" {
                found.push(format!(
                    "{} of {user} at {} was not permitted",
                    event.kind, event.position
                ));
            }
        }
        if event.stream.category() == QuotaLedger::CATEGORY
            && let Ok(decoded) = decode::<LedgerEvent>(event)
        {
            ledgers.entry(&event.stream).or_default().evolve(&decoded);
        }
        if let Err(error) = rights.fold(event) {
            found.push(format!("rights cannot be folded: {error}"));
        }
        let context = event.stream.category().split('.').next();
        let moves = matches!(context, Some("identity" | "access"));
        for user in users.iter().filter(|_| moves) {
            let now = user_rights(&rights, *user, event.position);
            let history = rights_by_user.entry(*user).or_default();
            if history.last().is_none_or(|last| {
                UserRights {
                    since: now.since,
                    ..last.clone()
                } != now
            }) {
                history.push(now);
            }
        }
    }
    found
}

/// Whose ledger the event is in; `None` when it is in none.
fn ledger_owner(event: &RecordedEvent) -> Option<UserId> {
    let ledger = event.stream.category() == QuotaLedger::CATEGORY;
    ledger.then(|| event.stream.key().parse().ok()).flatten()
}

/// Whether what is taken fits the limits of the ledger's owner.
fn within(owner: &UserRights, event: &RecordedEvent, ledgers: &BTreeMap<&StreamId, QuotaLedger>) -> bool {
    match decode::<LedgerEvent>(event) {
        Ok(LedgerEvent::Taken { quota, .. }) if event.stream.category() == QuotaLedger::CATEGORY => {
            let used = ledgers.get(&event.stream).map_or(0, |ledger| ledger.used(quota));
            owner
                .limits
                .get(&quota)
                .copied()
                .flatten()
                .is_none_or(|limit| used < limit)
        }
        _ => true,
    }
}

fn allows(actor: &UserRights, event: &RecordedEvent) -> bool {
    let held = event.kind != "jobs.JobQueued" || actor.trains;
    // An account that is not verified may still end its own sessions.
    let acts = actor.active || event.kind == "identity.SessionRevoked";
    acts && held
}

/// AC-6: whoever owns a job that a worker got was allowed to train, at that place in the log.
fn leases(log: &[RecordedEvent]) -> Vec<String> {
    let (mut rights, mut owners) = (Rights::default(), BTreeMap::new());
    let mut found = Vec::new();
    for event in log {
        let of_job = event.stream.category() == Job::CATEGORY;
        match of_job.then(|| decode::<JobEvent>(event)) {
            Some(Ok(JobEvent::Queued(order))) => {
                owners.insert(&event.stream, order.owner);
            }
            Some(Ok(JobEvent::Leased { .. })) => {
                let owner = owners.get(&event.stream);
                let owner = owner.map(|owner| user_rights(&rights, *owner, event.position));
                if !owner.is_some_and(|owner| owner.active && owner.trains) {
                    found.push(format!(
                        "{} was leased at {} though its owner may not train",
                        event.stream, event.position
                    ));
                }
            }
            _ => {}
        }
        if let Err(error) = rights.fold(event) {
            found.push(format!("rights cannot be folded: {error}"));
        }
    }
    found
}

fn jobs(log: &[RecordedEvent]) -> BTreeMap<&StreamId, Job> {
    let mut jobs: BTreeMap<&StreamId, Job> = BTreeMap::new();
    for event in log
        .iter()
        .filter(|event| event.stream.category() == Job::CATEGORY)
    {
        if let Ok(decoded) = decode::<JobEvent>(event) {
            jobs.entry(&event.stream).or_default().evolve(&decoded);
        }
    }
    jobs
}

/// How many jobs the log knows, and how many of them completed.
pub(super) fn count(log: &[RecordedEvent]) -> (usize, usize) {
    let jobs = jobs(log);
    let completed = jobs.values().filter(|job| job.state == JobState::Completed);
    (jobs.len(), completed.count())
}

/// I6: every job has ended.
pub(super) fn unfinished(log: &[RecordedEvent]) -> Vec<String> {
    // One that is paused waits for its owner, who may have lost the right to resume it.
    let waits = |job: &Job| job.state.is_final() || job.state == JobState::Paused;
    let jobs = jobs(log).into_iter().filter(|(_, job)| !waits(job));
    jobs.map(|(stream, job)| format!("{stream} is still {:?} in attempt {}", job.state, job.attempt))
        .collect()
}

/// I7: the rows are what the whole log folds into at once, and the checkpoint is at its end.
fn rows(environment: &SimulatedEnvironment, log: &[RecordedEvent]) -> Vec<String> {
    let database = environment.database.borrow();
    let head = log.last().map_or(Position::START, |event| event.position);
    let mut found = Vec::new();
    if database.checkpoint() != head {
        found.push(format!(
            "projections are at {}, the log ends at {head}",
            database.checkpoint()
        ));
    }
    for model in read_models() {
        match model.fold(&Stored::new(), log) {
            Ok(whole) if whole == database.rows(model.name()) => {}
            Ok(whole) => {
                let rows = database.rows(model.name());
                let differs = |key: &&String| whole.get(*key) != rows.get(*key);
                let key = whole.keys().chain(rows.keys()).find(differs);
                found.push(format!(
                    "{}: the row of {key:?} is not what the log says",
                    model.name()
                ));
            }
            Err(error) => found.push(format!("{} cannot be folded: {error}", model.name())),
        }
    }
    found
}
