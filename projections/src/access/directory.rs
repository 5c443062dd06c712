//! The directory: accounts, sessions, roles and who holds them, folded in memory in every process.
//!
//! Access decisions are made from it. It follows the log, and [`Directory::wait_for_position`] waits until it has
//! folded everything that was recorded when a request came; so a revocation works for the next request.
//!
//! So that a start need not fold the whole log, what was folded is kept now and then ([`Snapshots`]).

mod folded;
mod form;
mod keeper;
mod snapshot;
mod table;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use domain::{
    access::{
        administrators::Administrators,
        assignment::Assignments,
        role::{Role, RoleDefinition},
    },
    aggregate::{Aggregate, DecodeError},
    authz::{Principal, UserPrincipal},
    event_store::{EventStore, Filter, Position, RecordedEvent, StoreError},
    id::{SessionId, UserId},
    identity::{session::Session, user::User},
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::keeper::{Keeper, Restored};
pub use self::{
    folded::Rights,
    form::FormError,
    keeper::{SnapshotSettings, Snapshots},
    snapshot::{SnapshotFault, SnapshotKey},
};

/// Positions that are looked at in one step of catching up; few of them are of these streams.
const PAGE: usize = 10_000;
const RETRY: Duration = Duration::from_secs(1);

/// Why the directory cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log holds what this build cannot read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It has not caught up in time; nothing is decided on stale facts.
    #[error("access rights are not up to date yet, try again")]
    Behind,
}

/// See the module.
#[derive(Clone)]
pub struct Directory {
    state: Arc<RwLock<Rights>>,
    folded: watch::Receiver<Position>,
    /// Changes with what it knows, and not with everything that is recorded.
    altered: Arc<watch::Sender<()>>,
    store: Arc<dyn EventStore>,
    /// Open as long as snapshots are kept.
    keeping: Option<watch::Receiver<()>>,
}

/// What it folds.
const CATEGORIES: [&str; 5] = [
    User::CATEGORY,
    Session::CATEGORY,
    Role::CATEGORY,
    Assignments::CATEGORY,
    Administrators::CATEGORY,
];

fn filter() -> Filter {
    Filter {
        stream_prefixes: CATEGORIES.iter().map(|category| format!("{category}-")).collect(),
        kind_prefixes: Vec::new(),
    }
}

/// Folds what the log has after `from` into `rights`; returns how far that is.
async fn catch_up(
    store: &dyn EventStore,
    rights: &mut Rights,
    from: Position,
) -> Result<Position, DirectoryError> {
    let (head, filter, mut position) = (store.head().await?, filter(), from);
    while position < head {
        let page = store.read_all(position, &filter, PAGE).await?;
        page.events.iter().try_for_each(|event| rights.fold(event))?;
        position = position.max(page.next);
    }
    Ok(position)
}

/// Forgets the sessions that are over by the time of the log's last event, which may be of any stream.
async fn drop_sessions_that_are_over(
    store: &dyn EventStore,
    rights: &mut Rights,
    position: Position,
) -> Result<(), DirectoryError> {
    let before = Position(position.0.saturating_sub(1));
    let page = store.read_all(before, &Filter::all(), 1).await?;
    if let Some(last) = page.events.last() {
        rights.drop_sessions_over_at(last.at);
    }
    Ok(())
}

impl Directory {
    /// Folds the whole log, then follows it until `stop` is cancelled.
    ///
    /// # Errors
    /// When the log cannot be read at the start.
    pub async fn start(store: Arc<dyn EventStore>, stop: CancellationToken) -> Result<Self, DirectoryError> {
        Self::start_from(store, None, stop).await
    }

    /// As [`start`](Self::start), from the newest snapshot that can be used; keeps further ones.
    ///
    /// # Errors
    /// As there. Nothing about snapshots is an error: what cannot be used is told, and the log folded.
    pub async fn start_with(
        store: Arc<dyn EventStore>,
        snapshots: Snapshots,
        stop: CancellationToken,
    ) -> Result<Self, DirectoryError> {
        Self::start_from(store, Some(snapshots), stop).await
    }

    async fn start_from(
        store: Arc<dyn EventStore>,
        snapshots: Option<Snapshots>,
        stop: CancellationToken,
    ) -> Result<Self, DirectoryError> {
        let Restored { mut rights, kept } = match &snapshots {
            Some(snapshots) => snapshots.newest(store.as_ref()).await,
            None => Restored::default(),
        };
        let position = catch_up(store.as_ref(), &mut rights, kept).await?;
        drop_sessions_that_are_over(store.as_ref(), &mut rights, position).await?;
        let keeper = match snapshots {
            Some(snapshots) => Some(Keeper::new(store.clone(), snapshots, &rights, (kept, position)).await),
            None => None,
        };
        let (sender, folded) = watch::channel(position);
        let mut directory = Self {
            state: Arc::new(RwLock::new(rights)),
            folded,
            altered: Arc::default(),
            store,
            keeping: None,
        };
        if let Some(keeper) = keeper {
            let (kept, keeping) = watch::channel(());
            directory.keeping = Some(keeping);
            let (of, stop) = (directory.clone(), stop.clone());
            tokio::spawn(async move {
                keeper.keep(of, stop).await;
                drop(kept);
            });
        }
        let listener = directory.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listener.follow(position, sender) => {}
            }
        });
        Ok(directory)
    }

    /// Waits until the last snapshot is kept, once it was told to stop; no longer than some seconds.
    pub async fn ended(&self) {
        if let Some(mut keeping) = self.keeping.clone() {
            // An error says that whoever keeps them has ended.
            while keeping.changed().await.is_ok() {}
        }
    }

    /// Accounts and open sessions that are known.
    #[must_use]
    pub fn size(&self) -> usize {
        self.read().size()
    }

    /// What was folded, as it is kept in snapshots: the same for the same fold.
    ///
    /// # Errors
    /// As [`Rights::to_bytes`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormError> {
        self.read().to_bytes()
    }

    async fn follow(&self, mut position: Position, sender: watch::Sender<Position>) {
        let mut subscription = self.store.subscribe(position, Filter::all());
        loop {
            let folded = match subscription.next().await {
                Ok(page) => self
                    .fold(&page.events)
                    .map(|()| page.next)
                    .map_err(DirectoryError::from),
                Err(error) => Err(error.into()),
            };
            match folded {
                Ok(next) => {
                    position = position.max(next);
                    sender.send_replace(position);
                }
                Err(error) => {
                    // Behind is safe: whoever asks waits, and is refused rather than answered from old facts.
                    tracing::error!(%error, after = position.0, "access directory paused, trying again");
                    tokio::time::sleep(RETRY).await;
                    subscription = self.store.subscribe(position, Filter::all());
                }
            }
        }
    }

    fn fold(&self, events: &[RecordedEvent]) -> Result<(), DecodeError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let folded = events.iter().try_for_each(|event| state.fold(event));
        drop(state);
        if events
            .iter()
            .any(|event| CATEGORIES.contains(&event.stream.category()))
        {
            self.altered.send_replace(());
        }
        folded
    }

    /// Waits until everything is folded that any process had recorded when this was called.
    ///
    /// # Errors
    /// When the log does not answer or the directory stays behind.
    pub async fn at_head(&self, timeout: Duration) -> Result<(), DirectoryError> {
        let head = self.store.head().await?;
        self.wait_for_position(head, timeout).await
    }

    /// Waits until everything is folded that this process knows of; costs nothing when it is.
    ///
    /// # Errors
    /// When the directory stays behind.
    pub async fn at_known_head(&self, timeout: Duration) -> Result<(), DirectoryError> {
        self.wait_for_position(self.store.known_head(), timeout).await
    }

    /// Waits until `position` is folded.
    ///
    /// # Errors
    /// When the directory stays behind.
    pub async fn wait_for_position(
        &self,
        position: Position,
        timeout: Duration,
    ) -> Result<(), DirectoryError> {
        if *self.folded.borrow() >= position {
            return Ok(());
        }
        let mut folded = self.folded.clone();
        let reached = folded.wait_for(|reached| *reached >= position);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(DirectoryError::Behind),
        }
    }

    /// Changes whenever accounts, sessions, roles or their holders did: for connections that outlive a request, of which
    /// there may be thousands. What else is recorded wakes none of them.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.altered.subscribe()
    }

    /// Whether there is an administrator (SS-4).
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.read().is_set_up()
    }

    /// The principal of a session that is open at `now`.
    #[must_use]
    pub fn session(&self, session: SessionId, now: OffsetDateTime) -> Option<UserPrincipal> {
        self.read().session(session, now)
    }

    /// The principal of an account, outside of any session.
    #[must_use]
    pub fn user(&self, user: UserId) -> Option<Principal> {
        self.read().user(user)
    }

    /// The definition of a role.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<RoleDefinition> {
        self.read().role(name).cloned()
    }

    /// Parameters that passwords of accounts are hashed with, the beginning of a PHC string: each as often as accounts
    /// have them, chosen by `pick`. `None` when no account has a password.
    #[must_use]
    pub fn password_parameters(&self, pick: u64) -> Option<String> {
        self.read().password_parameters(pick).map(str::to_owned)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Rights> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}
