//! The event log in PostgreSQL: one append-only table, one head row, group commit.
//!
//! The rule: all appends of a process go through its one writer task, and all processes take turns on the
//! head row. So positions ascend in commit order without gaps, and a reader needs nothing but "after this
//! position". Tables: `migrations/20261120000001_create_event_log.sql`.

mod address;
mod checks;
mod connect;
mod connect_error;
mod decide;
mod failure;
mod reader;
mod recent;
mod session;
mod subscription;
mod tail;
mod tree;
mod writer;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    clock::Clock,
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent,
        StoreError, StreamId, Subscription,
    },
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

pub(crate) use self::failure::unavailable as read_failure;
pub use self::{
    address::{SSL_MODES, address, is_ssl_mode},
    checks::StartError,
    connect::{APP_ROLE, admin_connection, admin_pool, app_pool, as_app_role, keyed_pool},
    connect_error::ConnectError,
    failure::{describe, is_outage},
    tree::{
        ConsistencyProof, Evidence, ExportOrder, InclusionProof, IntegrityError, IntegritySettings,
        LogIntegrity, ProofError, SigningState, Verified, VerifyError,
    },
};
use self::{
    reader::Reader,
    recent::Recent,
    tail::KnownHead,
    writer::{Obstacle, Request},
};
pub use crate::prepared::{MAX_APPEND, MAX_DATA, MAX_EVENTS, MAX_META, MAX_NAME};
use crate::{
    integrity::{
        Tip,
        export::{ExportError, Manifest},
    },
    prepared::Prepared,
};

/// The channel on which a batch announces its last position.
const CHANNEL: &str = "anneal_event";

/// Sizes and deadlines of one process's event store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Appends that may wait; one more is [`AppendError::Overloaded`].
    pub queue_appends: usize,
    /// Bytes that may wait, payloads and names; at least [`MAX_APPEND`].
    pub queue_bytes: usize,
    /// How long a caller of `append` waits at most.
    pub append_limit: Duration,
    /// How long one statement may take.
    pub statement_limit: Duration,
    /// Connections for reading.
    pub readers: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_appends: 4_096,
            queue_bytes: 64 << 20,
            append_limit: Duration::from_secs(15),
            statement_limit: Duration::from_secs(10),
            readers: 8,
        }
    }
}

/// The adapter. Cheap to share; [`PostgresEventStore::close`] ends it in order.
pub struct PostgresEventStore {
    reader: Reader,
    listeners: sqlx::PgPool,
    queue: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    append_limit: Duration,
    obstacle: Obstacle,
    head: KnownHead,
    closing: Arc<Notify>,
    writer: Mutex<Option<JoinHandle<()>>>,
    head_listener: AbortHandle,
}

impl std::fmt::Debug for PostgresEventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresEventStore")
            .field("known_head", &self.head.get())
            .finish_non_exhaustive()
    }
}

impl PostgresEventStore {
    /// Connects (one connection to write, one to listen, `settings.readers` to read), checks the database and
    /// starts the writer. `clock` gives events their times. The tables must exist.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn start(
        options: PgConnectOptions,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StartError> {
        let pool = |name: &str, max| {
            connect::connect(
                connect::for_log(PgPoolOptions::new().max_connections(max)),
                options.clone().application_name(name),
            )
        };
        let readers = pool("anneal reader", settings.readers.max(1)).await?;
        let position = checks::check(&readers, settings.statement_limit).await?;
        let listeners = pool("anneal listener", 1).await?;
        let recent = Recent::default();
        let reader = Reader {
            pool: readers,
            limit: settings.statement_limit,
            recent: recent.clone(),
        };
        let head = KnownHead::new(position);
        let closing = Arc::new(Notify::new());
        let (queue, waiting) = mpsc::channel(settings.queue_appends.max(1));
        let room = Arc::new(Semaphore::new(
            settings.queue_bytes.clamp(MAX_APPEND, Semaphore::MAX_PERMITS),
        ));
        let append_limit = settings.append_limit;
        let obstacle = Obstacle::default();
        let writer = writer::Writer {
            options,
            settings,
            clock,
            queue: waiting,
            closing: Arc::clone(&closing),
            head: head.clone(),
            recent,
            obstacle: obstacle.clone(),
            session: None,
            memory: decide::Memory::default(),
        };
        let follow = tail::follow(head.clone(), reader.clone(), listeners.clone());
        Ok(Arc::new(Self {
            reader,
            listeners,
            queue,
            room,
            append_limit,
            obstacle,
            head,
            closing,
            writer: Mutex::new(Some(tokio::spawn(writer.run()))),
            head_listener: tokio::spawn(follow).abort_handle(),
        }))
    }

    /// Takes no further appends, records what waits, then disconnects. Later calls fail as unavailable.
    /// Returns whether everything that waited was answered within `limit`. Calling it again does nothing.
    pub async fn close(&self, limit: Duration) -> bool {
        self.closing.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let drained = match writer {
            Some(writer) => {
                let stop = writer.abort_handle();
                let ended = matches!(tokio::time::timeout(limit, writer).await, Ok(Ok(())));
                stop.abort();
                ended
            }
            None => true,
        };
        self.head_listener.abort();
        // A reader that is busy until its own deadline must not hold us longer than `limit`.
        let disconnected = async { tokio::join!(self.listeners.close(), self.reader.pool.close()) };
        let disconnected = tokio::time::timeout(limit, disconnected).await.is_ok();
        drained && disconnected
    }

    /// Checks the whole log against itself ([`crate::integrity`]), without any key, and returns its end.
    ///
    /// # Errors
    /// [`VerifyError::Fault`] with the first position that is not what was recorded.
    pub async fn verify(&self) -> Result<Tip, VerifyError> {
        Ok(self.audit(&Evidence::default()).await?.tip)
    }

    /// Checks the whole log in one pass: its hash chain, the stored tree, and every recorded and exported
    /// checkpoint. What is recorded after the beginning is not looked at.
    ///
    /// # Errors
    /// [`VerifyError::Fault`] with the first position that is not what was recorded, or the narrowest stretch
    /// that can be named.
    pub async fn audit(&self, evidence: &Evidence) -> Result<Verified, VerifyError> {
        tree::audit(&self.reader.pool, evidence).await
    }

    /// Exports the log or a part of it as files that prove themselves ([`crate::integrity::export`]).
    ///
    /// # Errors
    /// [`ExportError`]; nothing is left then.
    pub async fn export(&self, order: ExportOrder<'_>) -> Result<Manifest, ExportError> {
        tree::export(&self.reader.pool, order).await
    }

    async fn enqueue(&self, append: Append) -> Result<Appended, AppendError> {
        let prepared = Prepared::new(append)?;
        let bytes = u32::try_from(prepared.bytes).map_err(|_| AppendError::Overloaded)?;
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(bytes)
            .map_err(|_| AppendError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        self.queue
            .try_send(Request {
                prepared: Arc::new(prepared),
                answer,
                _room: room,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => unavailable("it is closed"),
            })?;
        match tokio::time::timeout(self.append_limit, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable("it was closed meanwhile")),
            Err(_) => Err(match self.obstacle.get() {
                Some(known) => known.into(),
                None => unavailable("it did not answer in time"),
            }),
        }
    }
}

fn unavailable(why: &str) -> AppendError {
    AppendError::Store(StoreError::Unavailable(why.to_owned()))
}

impl Drop for PostgresEventStore {
    fn drop(&mut self) {
        // The writer ends by itself, once what waits is recorded.
        self.head_listener.abort();
    }
}

impl EventStore for PostgresEventStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let started = Instant::now();
            let outcome = self.enqueue(append).await;
            let outcome_label = match &outcome {
                Ok(_) => "recorded",
                Err(AppendError::Conflict { .. }) => "conflict",
                Err(AppendError::Overloaded) => "overloaded",
                Err(AppendError::IdReused { .. } | AppendError::Malformed(_)) => "refused",
                Err(AppendError::Store(_)) => "failed",
            };
            metrics::histogram!("event_store_append_seconds", "outcome" => outcome_label)
                .record(started.elapsed().as_secs_f64());
            outcome
        })
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            let wanted = [(stream.clone(), revision)];
            let histories = self.reader.load(&wanted).await?;
            Ok(histories.into_iter().flatten().collect())
        })
    }

    fn load_many<'a>(
        &'a self,
        streams: &'a [(StreamId, u64)],
    ) -> BoxFuture<'a, Result<Vec<Vec<RecordedEvent>>, StoreError>> {
        Box::pin(self.reader.load(streams))
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(self.reader.page(after, filter, limit))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            let position = self.reader.head().await?;
            self.head.advance(position.0);
            Ok(position)
        })
    }

    fn chain_hash(&self, position: Position) -> BoxFuture<'_, Result<Option<[u8; 32]>, StoreError>> {
        Box::pin(self.reader.chain_hash(position))
    }

    fn known_head(&self) -> Position {
        Position(self.head.get())
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        let (reader, head) = (self.reader.clone(), self.head.watch());
        Box::new(subscription::PostgresSubscription {
            reader,
            head,
            after,
            filter,
            placed: false,
            read: false,
        })
    }
}
