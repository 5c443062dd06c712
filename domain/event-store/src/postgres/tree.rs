//! The Merkle tree over the log in PostgreSQL: stored tiles, signed checkpoints, proofs.
//!
//! The rule: tiles and checkpoints are only ever added, in one transaction with each other, by the one process
//! that holds the signer's lock; whatever else reads them recomputes or verifies. Tables:
//! `migrations/20261121000101_create_event_tree.sql`.

mod audit;
mod events;
mod export;
mod nodes;
mod proofs;
mod rows;
mod signer;
mod state;

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::clock::Clock;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

pub use self::signer::SigningState;
use self::signer::TreeSigner;
pub use self::{
    audit::{Evidence, Verified, VerifyError},
    export::ExportOrder,
    proofs::{ConsistencyProof, InclusionProof, ProofError},
};
use super::{
    connect,
    connect_error::ConnectError,
    failure::{describe, within},
};
use crate::integrity::{
    Checkpoint, CheckpointError, CheckpointFolder, CheckpointFolderError, Digest, KeyFileError, TILE_WIDTH,
    TilePlace, Verifier, consistency_spans, inclusion_spans, open_or_create, public_half, root_of, tiles_for,
};

pub(super) use self::{audit::audit, export::export};

/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(10);
/// Connections for proofs.
const POOL: u32 = 2;

/// What integrity needs to know.
#[derive(Clone, Debug)]
pub struct IntegritySettings {
    /// Name of the log in its checkpoints; `anneal.log/<store id>` if `None`. It never changes.
    pub origin: Option<String>,
    /// The file of the signing key; made at the first start.
    pub key_file: PathBuf,
    /// Where checkpoints are exported to.
    pub folder: PathBuf,
    /// How often the log is looked at for something to sign.
    pub interval: Duration,
    /// Whether this process may sign. If not, it only answers questions.
    pub sign: bool,
}

/// Why integrity does not start; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IntegrityError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database failed.
    #[error("the tree over the log could not be read: {0}")]
    Failed(String),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The exported checkpoints.
    #[error(transparent)]
    Folder(#[from] CheckpointFolderError),
}

impl From<sqlx::Error> for IntegrityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(describe(&error))
    }
}

/// Integrity of one log, in one process.
pub struct LogIntegrity {
    pool: PgPool,
    verifier: Verifier,
    state: watch::Receiver<SigningState>,
    exporting: watch::Receiver<Option<String>>,
    stop: watch::Sender<bool>,
    signer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for LogIntegrity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogIntegrity")
            .field("key", self.verifier.key())
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

/// The newest recorded checkpoint, unverified: what decides whether a key may be made.
async fn newest_note(pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
    let newest = sqlx::query_scalar("select note from event_tree_head order by size desc limit 1");
    within(STATEMENT, newest.fetch_optional(pool)).await
}

/// The newest exported checkpoint, unverified, of a database that records none.
fn exported_note(folder: &CheckpointFolder) -> Result<Option<String>, CheckpointFolderError> {
    let newest = folder.newest_note()?;
    match (newest.found, newest.faulty) {
        // Whether a checkpoint was exported is not known, and so not whether a key may be made.
        (None, Some(faulty)) => Err(CheckpointFolderError::Faulty(format!(
            "{faulty}; and the database records no checkpoint that it could be written from. Put the file back from a \
             backup, or move the folder of checkpoints away if this log is a new one"
        ))),
        (found, _) => Ok(found),
    }
}

/// The name of the log, unless another is configured.
async fn default_origin(pool: &PgPool) -> Result<String, sqlx::Error> {
    let id = sqlx::query_scalar::<_, uuid::Uuid>("select store_id from event_head").fetch_one(pool);
    Ok(format!("anneal.log/{}", within(STATEMENT, id).await?))
}

impl LogIntegrity {
    /// Opens the key (making it at the first start of a log) and starts the signer, if this process may
    /// sign. The tables must exist.
    ///
    /// # Errors
    /// [`IntegrityError`]: above all a key that is missing or not the one that signed what is recorded.
    pub async fn start(
        options: PgConnectOptions,
        settings: IntegritySettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, IntegrityError> {
        let pool = connect::connect(
            connect::for_log(PgPoolOptions::new().max_connections(POOL)),
            options.clone().application_name("anneal proofs"),
        )
        .await?;
        let origin = match &settings.origin {
            Some(origin) => origin.clone(),
            None => default_origin(&pool).await?,
        };
        let folder = CheckpointFolder::new(settings.folder.clone());
        let recorded = match newest_note(&pool).await? {
            Some(note) => Some(note),
            // A database without checkpoints is not new when some were exported from it.
            None => exported_note(&folder)?,
        };
        let (stop, stopped) = watch::channel(false);
        let (told, state) = watch::channel(SigningState::Off);
        let (export_failure, exporting) = watch::channel(None);
        let (verifier, signer) = match settings.sign {
            true => {
                folder.prepare()?;
                let key = open_or_create(&settings.key_file, &origin, recorded.as_deref())?;
                let verifier = key.verifier().clone();
                let signer = TreeSigner {
                    options: options.application_name("anneal tree signer"),
                    key,
                    folder,
                    clock,
                    interval: settings.interval,
                    told,
                    retry: None,
                    export_failure,
                    stopped,
                };
                (verifier, Some(tokio::spawn(signer.run())))
            }
            false => (public_half(&settings.key_file)?, None),
        };
        Ok(Arc::new(Self {
            pool,
            verifier,
            state,
            exporting,
            stop,
            signer: Mutex::new(signer),
        }))
    }

    /// What checks the log's checkpoints: the public key with the log's name.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// How signing goes in this process.
    #[must_use]
    pub fn state(&self) -> SigningState {
        self.state.borrow().clone()
    }

    /// Why the newest checkpoint cannot be exported to its folder; `None` when it can.
    #[must_use]
    pub fn export_failure(&self) -> Option<String> {
        self.exporting.borrow().clone()
    }

    /// Signs what is recorded by now, then ends the signer. Calling it again does nothing. A signer that is
    /// not done within `limit` is ended anyway; what it did not sign, the next start does.
    pub async fn close(&self, limit: Duration) {
        self.stop.send_replace(true);
        if let Some(signer) = self.signer.lock().await.take() {
            let abort = signer.abort_handle();
            if tokio::time::timeout(limit, signer).await.is_err() {
                tracing::warn!("the last events of this run are signed at the next start");
                abort.abort();
            }
        }
        drop(tokio::time::timeout(limit, self.pool.close()).await);
    }

    /// The newest checkpoint; `None` when none was signed yet.
    ///
    /// # Errors
    /// [`ProofError`].
    pub async fn latest(&self) -> Result<Option<Checkpoint>, ProofError> {
        match newest_note(&self.pool).await? {
            Some(note) => self.opened(&note).map(Some),
            None => Ok(None),
        }
    }

    /// The checkpoint of exactly `size` events, if one was signed.
    ///
    /// # Errors
    /// [`ProofError`].
    pub async fn checkpoint(&self, size: u64) -> Result<Option<Checkpoint>, ProofError> {
        let Ok(size) = i64::try_from(size) else {
            return Ok(None);
        };
        let note = sqlx::query_scalar::<_, String>("select note from event_tree_head where size = $1")
            .bind(size)
            .fetch_optional(&self.pool);
        match within(STATEMENT, note).await? {
            Some(note) => self.opened(&note).map(Some),
            None => Ok(None),
        }
    }

    fn opened(&self, note: &str) -> Result<Checkpoint, ProofError> {
        Checkpoint::open(note, &self.verifier).map_err(|error: CheckpointError| {
            tracing::error!(%error, "a recorded checkpoint does not verify");
            ProofError::Damaged
        })
    }

    /// Proves that the event at `position` is in the log, by the tree of `size` events or, if `None`, of the
    /// newest checkpoint.
    ///
    /// # Errors
    /// [`ProofError`].
    pub async fn inclusion(&self, position: u64, size: Option<u64>) -> Result<InclusionProof, ProofError> {
        let newest = self.latest().await?.ok_or(ProofError::NothingSigned)?;
        let size = size.unwrap_or(newest.size);
        if size == 0 || size > newest.size {
            let signed = newest.size;
            return Err(ProofError::Size { size, signed });
        }
        let spans = position
            .checked_sub(1)
            .and_then(|index| inclusion_spans(index, size));
        let mut spans = spans.ok_or(ProofError::Position { position, size })?;
        let proof = spans.len();
        spans.push(position - 1..position);
        spans.push(0..size);
        let mut roots = self.roots(&spans).await?;
        let (root, leaf_hash) = (roots.pop(), roots.pop());
        let (Some(root), Some(leaf_hash), true) = (root, leaf_hash, roots.len() == proof) else {
            return Err(ProofError::Damaged);
        };
        let checkpoint = match size == newest.size {
            true => Some(newest),
            false => self.checkpoint(size).await?,
        };
        if checkpoint.as_ref().is_some_and(|signed| signed.root != root) {
            return Err(ProofError::Damaged);
        }
        Ok(InclusionProof {
            position,
            size,
            root,
            leaf_hash,
            hashes: roots,
            checkpoint,
        })
    }

    /// Proves that the log of `from` events is the beginning of that of `to` events.
    ///
    /// # Errors
    /// [`ProofError`].
    pub async fn consistency(&self, from: u64, to: u64) -> Result<ConsistencyProof, ProofError> {
        let newest = self.latest().await?.ok_or(ProofError::NothingSigned)?;
        if to > newest.size {
            let signed = newest.size;
            return Err(ProofError::Size { size: to, signed });
        }
        let mut spans = consistency_spans(from, to).ok_or(ProofError::Order { from, to })?;
        spans.push(0..from);
        spans.push(0..to);
        let mut hashes = self.roots(&spans).await?;
        match (hashes.pop(), hashes.pop()) {
            (Some(new), Some(old)) => Ok(ConsistencyProof {
                from: (from, old),
                to: (to, new),
                hashes,
            }),
            _ => Err(ProofError::Damaged),
        }
    }

    /// The first `width` hashes of a tile, as C2SP tlog-tiles serves them.
    ///
    /// # Errors
    /// [`ProofError::NoTile`] unless all of them are signed.
    pub async fn tile(&self, place: TilePlace, width: usize) -> Result<Vec<Digest>, ProofError> {
        let newest = self.latest().await?.ok_or(ProofError::NothingSigned)?;
        let (level, index) = place;
        let nodes = newest.size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let first = index.checked_mul(TILE_WIDTH as u64).ok_or(ProofError::NoTile)?;
        if width == 0 || width > TILE_WIDTH || first.saturating_add(width as u64) > nodes {
            return Err(ProofError::NoTile);
        }
        let mut connection = self.pool.acquire().await?;
        let wanted = [(place, width)].into();
        let mut tiles = within(STATEMENT, nodes::tiles(&mut connection, &wanted)).await?;
        let mut hashes = tiles.remove(&place).ok_or(ProofError::Damaged)?;
        hashes.truncate(width);
        Ok(hashes)
    }

    async fn roots(&self, spans: &[crate::integrity::Span]) -> Result<Vec<Digest>, ProofError> {
        let mut connection = self.pool.acquire().await?;
        let tiles = within(STATEMENT, nodes::tiles(&mut connection, &tiles_for(spans))).await?;
        let roots = spans.iter().map(|span| root_of(span, &tiles));
        roots.collect::<Option<_>>().ok_or(ProofError::Damaged)
    }
}
