//! Whether what lies on the disk is what it must be: every invariant, checked from durable state alone.
//!
//! The rule: it reads and never repairs. A *fault* is a broken promise; a *note* is something that is allowed
//! to be there and that an operator may want to know, such as a file that nothing refers to.

mod acknowledgements;
mod administrators;
mod files;
mod log;
mod log_state;
mod named;
mod read_models;

use std::{sync::Arc, time::Duration};

use domain::{
    clock::{Clock, SystemClock},
    event_store::{EventStore, Filter, Position, RecordedEvent, StoreError},
};
use event_store::{
    integrity::KeyFileError,
    postgres::{Evidence, PostgresEventStore, Settings, StartError, VerifyError, address, app_pool},
    sealing::KeysError,
};
use objects::Objects;
use serde::Serialize;
use sqlx::PgPool;

pub use acknowledgements::AcknowledgementLog;
use administrators::Circle;
use log_state::LogState;
pub use named::{CATEGORIES, KEPT, NamedFile, NamedFiles};

/// Events read at a time.
const PAGE: usize = 2_000;
/// Connections for reading.
const POOL: u32 = 4;
/// How long the store may take to disconnect.
const CLOSE: Duration = Duration::from_secs(5);
/// Findings of one kind that are told one by one; the rest are counted.
const TOLD: usize = 20;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// Every event's hash follows from the one before, up to the head row; the tree over all of them is the
    /// one that was signed.
    Chain,
    /// Positions and revisions have no gaps, ids occur once, times never run backwards.
    Sequence,
    /// This build can read every event.
    Readable,
    /// A job ends once at most, by its latest attempt, and no older attempt reports after a newer one.
    Jobs,
    /// What was taken from a quota is given back exactly when its job has ended.
    Quotas,
    /// A claimed name or address has one holder, who exists.
    Reservations,
    /// No session is opened or refreshed after it, or its account, was ended.
    Sessions,
    /// The table of leases knows no attempt that the log does not know.
    Leases,
    /// Read models are what the log folds into.
    ReadModels,
    /// Files that events name are there, byte for byte.
    Files,
    /// The key files are those of these data.
    Keys,
    /// There is an administrator whose account is active, once the system is set up.
    Administrators,
    /// What a client was told is recorded, once.
    Acknowledged,
}

impl Invariant {
    /// What it says, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Chain => "hash chain, tree and checkpoints",
            Self::Sequence => "positions, revisions, ids and times",
            Self::Readable => "every event readable",
            Self::Jobs => "jobs end once, by their latest attempt",
            Self::Quotas => "quotas given back",
            Self::Reservations => "reservations have one holder",
            Self::Sessions => "ended sessions stay ended",
            Self::Leases => "leases belong to recorded attempts",
            Self::ReadModels => "read models equal the log",
            Self::Files => "files match their hashes",
            Self::Keys => "key files fit the data",
            Self::Administrators => "an active administrator is there",
            Self::Acknowledged => "acknowledged events recorded once",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// About what.
    pub invariant: Invariant,
    /// What, with the position, job or file.
    pub what: String,
}

/// What was checked and found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Events in the log.
    pub events: u64,
    /// What was checked to its end.
    pub checked: Vec<Invariant>,
    /// Broken promises; none means that all is whole.
    pub faults: Vec<Finding>,
    /// Worth knowing, and no fault.
    pub notes: Vec<Finding>,
}

impl Report {
    /// Whether nothing is broken.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, invariant: Invariant, what: impl Into<String>) {
        push(&mut self.faults, invariant, what.into());
    }

    fn note(&mut self, invariant: Invariant, what: impl Into<String>) {
        push(&mut self.notes, invariant, what.into());
    }

    fn done(&mut self, invariant: Invariant) {
        self.checked.push(invariant);
    }
}

/// Keeps a list readable, however much is broken.
fn push(list: &mut Vec<Finding>, invariant: Invariant, what: String) {
    let acknowledged = list.iter().filter(|known| known.invariant == invariant).count();
    match acknowledged.cmp(&TOLD) {
        std::cmp::Ordering::Less => list.push(Finding { invariant, what }),
        std::cmp::Ordering::Equal => list.push(Finding {
            invariant,
            what: "and more of this kind".to_owned(),
        }),
        std::cmp::Ordering::Greater => {}
    }
}

/// What is looked at.
pub struct Subject<'a> {
    /// URL of the read models.
    pub url: &'a str,
    /// URL of the log.
    pub events: &'a str,
    /// The object store, or why there is none: a fault once events name files.
    pub objects: Result<Objects, String>,
    /// The data folder, where the key file of personal data lies.
    pub data_dir: &'a std::path::Path,
    /// What the log is checked against besides itself: signed checkpoints and their key.
    pub evidence: Evidence,
    /// What is wrong with the file of the log's signing key, if anything.
    pub log_key: Option<KeyFileError>,
    /// What clients were told, if known.
    pub acknowledgements: Option<AcknowledgementLog>,
}

/// Checks everything. May run while the system does: what is under way then is not mistaken for a fault.
///
/// # Errors
/// When something cannot be read at all; what is read and wrong goes into the report.
pub async fn verify(subject: Subject<'_>) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = match PostgresEventStore::start(address(subject.events)?, Settings::default(), clock).await {
        Ok(store) => store,
        Err(error @ StartError::Damaged { .. }) => {
            report.fault(Invariant::Chain, error.to_string());
            return Ok(report);
        }
        Err(error) => return Err(error.into()),
    };
    let outcome = check(&store, &subject, &mut report).await;
    store.close(CLOSE).await;
    outcome.map(|()| report)
}

async fn check(
    store: &Arc<PostgresEventStore>,
    subject: &Subject<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let log = app_pool(subject.events, POOL).await?;
    // Leases and journal are compared with the log as it is read after them: it may only have grown.
    let models = app_pool(subject.url, POOL).await?;
    let leases = read_models::leases(&models).await?;
    chain(store, &subject.evidence, report).await?;
    log::sequence(&log, report).await?;
    let opened = match crate::system::opened(store.clone(), models.clone(), subject.data_dir).await {
        Ok(opened) => opened,
        Err(error) => match error.downcast_ref::<KeysError>() {
            Some(fault) if fault.is_of_the_file() => {
                unopened(&error, subject, report);
                models.close().await;
                log.close().await;
                return Ok(());
            }
            _ => return Err(error),
        },
    };
    keys(subject, &models, opened.as_ref(), report).await?;
    let state = fold(opened.as_ref(), report).await?;
    state.conclude(report);
    state.leases(&leases, report);
    read_models::compare(&models, opened.as_ref(), report).await?;
    match &subject.objects {
        Ok(objects) => files::check(objects, state.files(), opened.as_ref(), report).await?,
        Err(_) if state.files().is_empty() => {}
        Err(reason) => report.fault(Invariant::Files, reason.clone()),
    }
    if let Some(acknowledgements) = &subject.acknowledgements {
        acknowledgements.check(&log, report).await?;
    }
    models.close().await;
    log.close().await;
    Ok(())
}

/// The key file of personal data does not open them: a fault, and nothing can be folded that holds some.
fn unopened(error: &anyhow::Error, subject: &Subject<'_>, report: &mut Report) {
    report.fault(Invariant::Keys, crate::output::told(error));
    if let Some(fault) = &subject.log_key {
        report.fault(Invariant::Keys, fault.to_string());
    }
    report.done(Invariant::Keys);
    report.note(
        Invariant::Readable,
        "what comes after this was not checked: it needs the key of personal data",
    );
}

/// Whether the key files are those of these data. That of personal data has opened them before this.
async fn keys(
    subject: &Subject<'_>,
    models: &PgPool,
    log: &dyn EventStore,
    report: &mut Report,
) -> anyhow::Result<()> {
    match crate::system::keys::check(models, log, subject.data_dir).await {
        Err(error) if error.is_of_a_file() => report.fault(Invariant::Keys, error.to_string()),
        other => other?,
    }
    if let Some(fault) = &subject.log_key {
        report.fault(Invariant::Keys, fault.to_string());
    }
    report.done(Invariant::Keys);
    Ok(())
}

/// What a history contradicts itself in, as far as its events alone can tell: those of a simulation, or of a log
/// that is at hand as a whole. In the order of the log.
#[must_use]
pub fn contradictions(history: &[RecordedEvent]) -> Vec<Finding> {
    let (mut state, mut circle, mut report) = (LogState::default(), Circle::default(), Report::default());
    for event in history {
        let added = state.add(event, &mut report).and_then(|()| circle.add(event));
        if let Err(error) = added {
            report.fault(Invariant::Readable, error.to_string());
        }
    }
    state.conclude(&mut report);
    circle.conclude(&mut report);
    report.faults
}

async fn chain(store: &PostgresEventStore, evidence: &Evidence, report: &mut Report) -> anyhow::Result<()> {
    match store.audit(evidence).await {
        Ok(verified) => {
            report.events = verified.tip.position;
            report.done(Invariant::Chain);
            if verified.signed > 0 && evidence.verifier.is_none() {
                let what =
                    "the public key of the signed checkpoints is missing: who signed them is not known";
                report.note(Invariant::Chain, what);
            }
            for faulty in &evidence.faulty {
                report.note(Invariant::Chain, faulty.clone());
            }
            if verified.unreadable > 0 {
                let what = format!("{} exported checkpoints cannot be read", verified.unreadable);
                report.note(Invariant::Chain, what);
            }
        }
        Err(VerifyError::Fault(fault)) => report.fault(Invariant::Chain, fault.to_string()),
        Err(VerifyError::Store(StoreError::Corrupt(what))) => report.fault(Invariant::Chain, what),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads the log once, from its beginning to where it ended when we began.
async fn fold(store: &dyn EventStore, report: &mut Report) -> anyhow::Result<LogState> {
    let (mut state, mut circle) = (LogState::default(), Circle::default());
    let end = store.head().await?;
    let mut after = Position::START;
    while after < end {
        let page = match store.read_all(after, &Filter::all(), PAGE).await {
            Ok(page) => page,
            Err(StoreError::Corrupt(what)) => {
                report.fault(Invariant::Sequence, what);
                return Ok(state);
            }
            Err(error) => return Err(error.into()),
        };
        for event in page.events.iter().filter(|event| event.position <= end) {
            let added = state.add(event, report).and_then(|()| circle.add(event));
            if let Err(error) = added {
                report.fault(Invariant::Readable, error.to_string());
            }
        }
        after = page.next;
    }
    circle.conclude(report);
    for invariant in [
        Invariant::Readable,
        Invariant::Jobs,
        Invariant::Quotas,
        Invariant::Reservations,
        Invariant::Sessions,
        Invariant::Administrators,
    ] {
        report.done(invariant);
    }
    Ok(state)
}
