//! A process of the system: its handle on the log, its access directory, its commands. All of it is lost in a crash.
//!
//! The rule: commands go through the real `domain::execute`, rights through the real fold of the directory.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, Mutex},
};

use domain::{
    aggregate::{Aggregate, decode},
    authz::{Denied, Principal, ReadRights, UserPrincipal},
    decision::{LoadedState, ReadSet},
    event_store::{EventStore, Filter, Metadata, Position, StoreError},
    execute::{Command, ExecuteError, Ports, execute},
    id::{JobId, UserId},
    jobs::job::Job,
    rights::LogRights,
};
use projections::access::directory::Rights;

use time::OffsetDateTime;

use super::{environment::SimulatedEnvironment, notes::Witness};

/// Events per page that the directory folds.
const PAGE: usize = 50;

/// Planted: decides on the rights that a request came with, instead of reading them.
struct RightsOfTheRequest;

impl ReadRights for RightsOfTheRequest {
    fn reads(&self, _: &UserPrincipal, _: &LoadedState, _: &mut ReadSet) {}

    fn current(
        &self,
        known: &UserPrincipal,
        _: &LoadedState,
        _: OffsetDateTime,
    ) -> Result<UserPrincipal, Denied> {
        Ok(known.clone())
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It holds.
    Done,
    /// The rule said no, in these words.
    Refused(String),
    /// The principal may not, by this rule.
    Denied(&'static str),
    /// Nothing can be said: to be tried again.
    Unknown,
}

/// See the module.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) environment: Rc<SimulatedEnvironment>,
    witness: Arc<Witness>,
    ports: Ports,
    rights: RefCell<Rights>,
    folded: Cell<Position>,
    /// Planted: acts on the rights that it once knew.
    stale_rights: bool,
}

impl Process {
    /// A fresh process that knows nothing.
    pub(super) fn start(environment: &Rc<SimulatedEnvironment>, name: &str) -> Self {
        let witness = Arc::new(Witness {
            inner: environment.store.another(),
            notes: Arc::clone(&environment.notes),
            trace: Arc::clone(&environment.trace),
            clock: Arc::clone(&environment.clock),
            who: name.to_owned(),
            request: Mutex::default(),
        });
        Self {
            name: name.to_owned(),
            environment: Rc::clone(environment),
            ports: Ports::new(
                Arc::clone(&witness) as Arc<dyn EventStore>,
                Arc::clone(&environment.clock) as _,
                Arc::clone(&environment.ids) as _,
                Arc::new(LogRights),
            ),
            witness,
            rights: RefCell::default(),
            folded: Cell::new(Position::START),
            stale_rights: false,
        }
    }

    /// Planted or not: this process does not look at the head of the log once it knows something, and its decisions stand
    /// on the rights that the request came with.
    pub(super) fn with_stale_rights(mut self, stale_rights: bool) -> Self {
        if stale_rights {
            self.ports.rights = Arc::new(RightsOfTheRequest);
        }
        Self { stale_rights, ..self }
    }

    pub(super) fn store(&self) -> &dyn EventStore {
        self.witness.as_ref()
    }

    pub(super) fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(super) fn say(&self, what: &str) {
        self.environment.say(&self.name, what);
    }

    fn scandal(&self, what: String) {
        self.say(&what);
        self.environment.notes().violations.push(what);
    }

    /// Brings the directory to the head of the log, as a request does that must not act on old rights.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let head = self.store().head().await?;
        while self.folded.get() < head {
            let page = self
                .store()
                .read_all(self.folded.get(), &Filter::all(), PAGE)
                .await?;
            for event in &page.events {
                if let Err(error) = self.rights.borrow_mut().fold(event) {
                    self.scandal(format!("the directory cannot fold: {error}"));
                }
            }
            self.folded.set(page.next);
        }
        Ok(())
    }

    /// The account as it may act, by what the directory knows.
    pub(super) fn principal(&self, user: UserId) -> Principal {
        self.rights.borrow().user(user).unwrap_or(Principal::Anonymous)
    }

    /// A request of `user`: rights are brought up to date after it came, then the command runs.
    pub(super) async fn request<C: Command>(&self, user: UserId, command: &C) -> Answer {
        self.witness.serve(Some(user));
        let known = self.stale_rights && matches!(self.principal(user), Principal::User(_));
        let caught_up = match known {
            true => Ok(()),
            false => self.catch_up().await,
        };
        let answer = match caught_up {
            Ok(()) => self.run(&self.principal(user), command).await,
            Err(_) => Answer::Unknown,
        };
        self.witness.serve(None);
        answer
    }

    /// Runs a command for a principal at hand.
    pub(super) async fn run<C: Command>(&self, principal: &Principal, command: &C) -> Answer {
        let meta = Metadata {
            actor: principal.actor(),
            ..Metadata::default()
        };
        match execute(&self.ports, principal, &meta, command).await {
            Ok(_) => Answer::Done,
            Err(ExecuteError::Refused(why)) => Answer::Refused(why.to_string()),
            Err(ExecuteError::Denied(denied)) => Answer::Denied(denied.rule),
            Err(ExecuteError::Busy | ExecuteError::Store(StoreError::Unavailable(_))) => Answer::Unknown,
            Err(error) => {
                self.scandal(format!("a command broke down: {error}"));
                Answer::Unknown
            }
        }
    }

    /// A job as the log has it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        let mut job = Job::default();
        for event in self.store().load(&Job::stream(id), 0).await? {
            match decode(&event) {
                Ok(event) => job.evolve(&event),
                Err(error) => self.scandal(format!("a job cannot be read: {error}")),
            }
        }
        Ok(job)
    }
}
