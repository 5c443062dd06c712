//! State derived from the log, event by event, and which events contradict earlier ones.
//!
//! The rule: written apart from the deciders whose work it checks; of them it shares the event types only.

mod jobs;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::Quota,
    },
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::JobId,
    identity::{
        reservation::{Reservation, ReservationEvent},
        session::{Session, SessionEvent},
        user::{User, UserEvent},
    },
    jobs::{
        job::Job,
        progress::{Progress, ProgressEvent},
    },
};

use self::jobs::JobState;
use super::{Invariant, Report, named::NamedFiles};

/// A lease as its table has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseRow {
    pub(super) job: JobId,
    pub(super) attempt: u32,
}

#[derive(Debug, Default)]
struct UserState {
    deactivated: bool,
    deactivations: u32,
}

#[derive(Debug)]
struct SessionState {
    user: String,
    deactivations: u32,
    revoked: bool,
}

/// See the module. Keys are those of the streams.
#[derive(Debug, Default)]
pub(super) struct LogState {
    jobs: HashMap<String, JobState>,
    taken: HashMap<(String, Quota), BTreeSet<String>>,
    users: HashMap<String, UserState>,
    reservations: BTreeMap<String, String>,
    sessions: HashMap<String, SessionState>,
    files: NamedFiles,
}

impl LogState {
    /// Adds one event.
    ///
    /// # Errors
    /// When this build cannot read it.
    pub(super) fn add(&mut self, event: &RecordedEvent, report: &mut Report) -> Result<(), DecodeError> {
        let at = event.position.0;
        self.files.add(event)?;
        match event.stream.category() {
            Job::CATEGORY => self.job(event, report)?,
            Progress::CATEGORY => {
                let (attempt, _) = decode::<ProgressEvent>(event)?.place();
                self.reported(event.stream.key(), attempt, at, report);
            }
            QuotaLedger::CATEGORY => self.quota(event, report)?,
            Reservation::CATEGORY => self.reservation(event, report)?,
            User::CATEGORY => self.user(event)?,
            Session::CATEGORY => self.session(event, report)?,
            _ => {}
        }
        Ok(())
    }

    /// The files that events name.
    pub(super) fn files(&self) -> &NamedFiles {
        &self.files
    }

    fn quota(&mut self, event: &RecordedEvent, report: &mut Report) -> Result<(), DecodeError> {
        let (owner, at) = (event.stream.key().to_owned(), event.position.0);
        match decode(event)? {
            LedgerEvent::Taken { quota, item } => {
                let held = self.taken.entry((owner.clone(), quota)).or_default();
                let fresh = held.insert(item.clone());
                if !fresh {
                    let what = format!("{quota}: {owner} takes a place for {item} again at position {at}");
                    report.fault(Invariant::Quotas, what);
                }
            }
            LedgerEvent::Released { quota, item } => {
                let held = self.taken.entry((owner.clone(), quota)).or_default();
                let known = held.remove(&item);
                if !known {
                    let what =
                        format!("{quota}: {owner} gives back {item} at position {at} without having it");
                    report.fault(Invariant::Quotas, what);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn reservation(&mut self, event: &RecordedEvent, report: &mut Report) -> Result<(), DecodeError> {
        let (reservation, at) = (event.stream.key(), event.position.0);
        let ReservationEvent::Taken { user, .. } = decode(event)? else {
            // Every other event of a reservation releases it.
            self.reservations.remove(reservation);
            return Ok(());
        };
        if let Some(holder) = self.reservations.insert(reservation.to_owned(), user.to_string()) {
            let what = format!("the reservation {reservation} of {holder} is taken again at position {at}");
            report.fault(Invariant::Reservations, what);
        }
        Ok(())
    }

    fn user(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let user = self.users.entry(event.stream.key().to_owned()).or_default();
        match decode(event)? {
            UserEvent::Deactivated { .. } | UserEvent::Erased { .. } => {
                user.deactivated = true;
                user.deactivations += 1;
            }
            UserEvent::Reactivated { .. } => user.deactivated = false,
            _ => {}
        }
        Ok(())
    }

    fn session(&mut self, event: &RecordedEvent, report: &mut Report) -> Result<(), DecodeError> {
        let (key, at) = (event.stream.key().to_owned(), event.position.0);
        match decode(event)? {
            SessionEvent::Opened {
                user, deactivations, ..
            } => {
                let user = user.to_string();
                if self.users.get(&user).is_none_or(|user| user.deactivated) {
                    let what =
                        format!("session {key} is opened at position {at} for {user}, who may not sign in");
                    report.fault(Invariant::Sessions, what);
                }
                let session = SessionState {
                    user,
                    deactivations,
                    revoked: false,
                };
                if self.sessions.insert(key.clone(), session).is_some() {
                    report.fault(
                        Invariant::Sessions,
                        format!("session {key} is opened again at {at}"),
                    );
                }
            }
            SessionEvent::Refreshed { .. } => {
                let live = self
                    .sessions
                    .get(&key)
                    .is_some_and(|session| self.is_live(session));
                if !live {
                    let what = format!("session {key} is refreshed at position {at} after its end");
                    report.fault(Invariant::Sessions, what);
                }
            }
            SessionEvent::Revoked { .. } => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.revoked = true;
                }
            }
            SessionEvent::Reused {} => {}
        }
        Ok(())
    }

    fn is_live(&self, session: &SessionState) -> bool {
        let account = self.users.get(&session.user);
        !session.revoked
            && account.is_some_and(|user| !user.deactivated && user.deactivations == session.deactivations)
    }

    /// What can be said only at the end.
    pub(super) fn conclude(&self, report: &mut Report) {
        let places: BTreeSet<&String> = self
            .taken
            .iter()
            .filter(|((_, quota), _)| *quota == Quota::ConcurrentJobs)
            .flat_map(|(_, items)| items)
            .collect();
        for (key, job) in &self.jobs {
            match (job.ended, places.contains(key)) {
                (Some(end), true) => report.fault(
                    Invariant::Quotas,
                    format!("job {key} ended at position {end} and still takes a place"),
                ),
                (None, false) => report.fault(
                    Invariant::Quotas,
                    format!("job {key} has not ended and takes no place"),
                ),
                _ => {}
            }
        }
        for item in places.into_iter().filter(|item| !self.jobs.contains_key(*item)) {
            report.fault(Invariant::Quotas, format!("{item} takes a place and is no job"));
        }
        for (reservation, holder) in &self.reservations {
            if !self.users.contains_key(holder) {
                let what =
                    format!("the reservation {reservation} is held by {holder}, who is not registered");
                report.fault(Invariant::Reservations, what);
            }
        }
    }

    /// Compares the table of leases, as it was read before the log.
    pub(super) fn leases(&self, rows: &[LeaseRow], report: &mut Report) {
        for row in rows {
            let key = row.job.to_string();
            match self.jobs.get(&key) {
                None => report.fault(Invariant::Leases, format!("a lease of {key}, which is no job")),
                Some(job) if row.attempt > job.attempt => {
                    let what = format!(
                        "job {key} is leased for attempt {}, the log knows {}",
                        row.attempt, job.attempt
                    );
                    report.fault(Invariant::Leases, what);
                }
                Some(job) if job.ended.is_some() => {
                    report.note(
                        Invariant::Leases,
                        format!("a lease of the ended job {key}; it runs out"),
                    );
                }
                Some(_) => {}
            }
        }
        report.done(Invariant::Leases);
    }
}
