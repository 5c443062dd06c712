//! The audit of the log in the database: chain, tree, recorded and exported checkpoints, in one pass.
//!
//! The rule: reading and hashing overlap, and only some batches are in memory, however long the log is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::event_store::StoreError;
use sqlx::{PgConnection, PgPool, Row as _};
use tokio::sync::mpsc;

use super::{
    super::{
        failure::{unavailable, within},
        session::{hash, unsigned},
    },
    STATEMENT,
    events::{self, EventRows},
    nodes, rows,
};
use crate::integrity::{
    ChainedEvent, Checkpoint, CheckpointError, Digest, Fault, NoteError, Tip, Tree, Verifier,
    audit::{Auditor, Expectations, Findings},
    inclusion_spans, root_of, tiles_for, verify_inclusion_of,
};

/// Positions that are asked for at a time.
const PAGE: u64 = 4_096;
/// How long the events of a page may take.
pub(super) const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// Batches that wait to be hashed.
const AHEAD: usize = 4;

/// A log that is not what was recorded, or could not be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not what was recorded.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the log is checked against, besides itself.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Verifies checkpoints. Without it their roots are compared, but nothing says who wrote them.
    pub verifier: Option<Verifier>,
    /// Notes that were exported.
    pub exported: Vec<String>,
    /// Files of exported checkpoints that cannot be read, each in a sentence: told, and no fault of the log.
    pub faulty: Vec<String>,
    /// Counts the positions that are done, for whoever shows it.
    pub progress: Arc<AtomicU64>,
}

/// A log that is what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its end.
    pub tip: Tip,
    /// The root of the tree over all its events.
    pub root: Digest,
    /// Checkpoints in the database that were compared.
    pub recorded: u64,
    /// Exported checkpoints that were compared, each size once.
    pub exported: u64,
    /// Size of the newest of them: events after it are not signed yet. 0 when none is.
    pub signed: u64,
    /// Exported notes that could not be read, for example cut off by a crash.
    pub unreadable: u64,
}

/// Checkpoints from outside, by size.
#[derive(Default)]
struct Exported {
    roots: BTreeMap<u64, Digest>,
    unreadable: u64,
    fault: Option<Fault>,
}

impl Exported {
    fn open(evidence: &Evidence) -> Self {
        let mut exported = Self::default();
        let Some(verifier) = &evidence.verifier else {
            return exported;
        };
        for note in &evidence.exported {
            match Checkpoint::open(note, verifier) {
                Ok(checkpoint) => {
                    let root = *exported.roots.entry(checkpoint.size).or_insert(checkpoint.root);
                    if root != checkpoint.root {
                        exported.blame(
                            checkpoint.size,
                            "contradicts another one of the same size".to_owned(),
                        );
                    }
                }
                Err(CheckpointError::Note(NoteError::Malformed)) => exported.unreadable += 1,
                Err(error) => {
                    let size = note.lines().nth(1).and_then(|line| line.parse().ok());
                    exported.blame(size.unwrap_or(0), format!("does not count: {error}"));
                }
            }
        }
        exported
    }

    fn blame(&mut self, size: u64, why: String) {
        let place = "in the checkpoint folder";
        self.fault.get_or_insert(Fault::Checkpoint { size, place, why });
    }
}

/// Checks the whole log, see the module.
pub(crate) async fn audit(pool: &PgPool, evidence: &Evidence) -> Result<Verified, VerifyError> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    let mut exported = Exported::open(evidence);
    let scope = within(STATEMENT, Scope::of(&mut connection))
        .await
        .map_err(failed)?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let auditor = Auditor::new(Tip::genesis(scope.store_id), Tree::default(), scope.covered);
    let progress = Arc::clone(&evidence.progress);
    let hashing = tokio::task::spawn_blocking(move || hash_all(auditor, receiver, &progress));
    let recorded = scope
        .read(&mut connection, evidence.verifier.as_ref(), &mut exported, sender)
        .await;
    let auditor = hashing
        .await
        .map_err(|error| StoreError::Unavailable(format!("the audit broke off: {error}")))?;
    let recorded = recorded.map_err(failed)?;
    let authentic = match auditor.findings().in_question() {
        Some(position) => {
            scope
                .authentic(&mut connection, position, &exported.roots, evidence)
                .await
        }
        None => Ok(false),
    };
    conclude(&auditor, authentic.map_err(failed)?, &scope, recorded, exported)
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err wants")]
fn failed(error: sqlx::Error) -> VerifyError {
    VerifyError::Store(unavailable(&error))
}

/// What of the log is looked at: what was there when the audit began.
struct Scope {
    end: u64,
    hash: Digest,
    store_id: uuid::Uuid,
    /// Size of the newest recorded checkpoint.
    covered: u64,
    has_tree: bool,
}

/// What was read of recorded checkpoints.
#[derive(Default)]
struct Recorded {
    fault: Option<Fault>,
    /// Exported checkpoints that are not recorded.
    missing: Option<u64>,
}

/// What goes to the hashing thread: expectations first, then the events they are about.
enum Work {
    Expect(Expectations),
    Events(Vec<ChainedEvent>),
}

impl Scope {
    async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let has_tree: bool = sqlx::query_scalar("select to_regclass('event_tree_head') is not null")
            .fetch_one(&mut *connection)
            .await?;
        // The checkpoint first: what it covers is recorded by then.
        let covered = match has_tree {
            true => rows::newest(connection).await?.map_or(0, |row| row.size),
            false => 0,
        };
        let head = sqlx::query("select pos, hash, store_id from event_head")
            .fetch_one(connection)
            .await?;
        Ok(Self {
            end: unsigned(head.try_get("pos")?)?,
            hash: hash(head.try_get("hash")?)?,
            store_id: head.try_get("store_id")?,
            covered,
            has_tree,
        })
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        verifier: Option<&Verifier>,
        exported: &mut Exported,
        sender: mpsc::Sender<Work>,
    ) -> Result<Recorded, sqlx::Error> {
        let mut recorded = Recorded::default();
        let mut sink = Channel { sender, open: true };
        let mut after = 0;
        while after < self.end && sink.open {
            let to = (after + PAGE).min(self.end);
            let mut expected = Expectations::default();
            if self.has_tree {
                expected.tiles = within(STATEMENT, rows::stored_tiles(connection, after, to)).await?;
                let heads = within(STATEMENT, rows::heads(connection, after, to)).await?;
                for row in heads {
                    expected
                        .roots
                        .insert(row.size, vec![recorded.root(&row, verifier)]);
                }
            }
            for (size, root) in exported.roots.range(after + 1..=to) {
                if !expected.roots.contains_key(size) {
                    recorded.missing.get_or_insert(*size);
                }
                expected.roots.entry(*size).or_default().push(*root);
            }
            sink.send(Work::Expect(expected)).await;
            within(PAGE_LIMIT, events::read(connection, after, to, &mut sink)).await?;
            after = to;
        }
        Ok(recorded)
    }

    /// Whether the stored leaf of the event at `position` is under a signed root.
    async fn authentic(
        &self,
        connection: &mut PgConnection,
        position: u64,
        exported: &BTreeMap<u64, Digest>,
        evidence: &Evidence,
    ) -> Result<bool, sqlx::Error> {
        let mut signed: BTreeMap<u64, Digest> = exported
            .range(position..)
            .map(|(size, root)| (*size, *root))
            .collect();
        // Some suffice: that later ones are consistent was verified when they were signed.
        let heads = sqlx::query(
            "select size, root, note from event_tree_head where size >= $1 order by size limit 64",
        )
        .bind(rows::signed(position)?)
        .fetch_all(&mut *connection)
        .await?;
        for row in &heads {
            let row = rows::head(row)?;
            let root = match &evidence.verifier {
                Some(verifier) => Checkpoint::open(&row.note, verifier).ok().map(|one| one.root),
                None => Some(row.root),
            };
            if let Some(root) = root {
                signed.insert(row.size, root);
            }
        }
        for (size, root) in signed {
            let mut spans = inclusion_spans(position - 1, size).unwrap_or_default();
            spans.push(position - 1..position);
            let tiles = nodes::tiles(connection, &tiles_for(&spans)).await?;
            let hashes: Option<Vec<Digest>> = spans.iter().map(|span| root_of(span, &tiles)).collect();
            let Some((leaf, proof)) = hashes.as_ref().and_then(|hashes| hashes.split_last()) else {
                continue;
            };
            if verify_inclusion_of(leaf, position - 1, size, &root, proof) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Recorded {
    /// The root that a recorded checkpoint stands for.
    fn root(&mut self, row: &rows::HeadRow, verifier: Option<&Verifier>) -> Digest {
        let Some(verifier) = verifier else { return row.root };
        let why = match Checkpoint::open(&row.note, verifier) {
            Ok(checkpoint) if checkpoint.size == row.size && checkpoint.root == row.root => {
                return checkpoint.root;
            }
            Ok(checkpoint) if checkpoint.size == row.size => {
                self.blame(row.size, "is not the one that its row says".to_owned());
                return checkpoint.root;
            }
            Ok(_) => "is of another size than its row says".to_owned(),
            Err(error) => format!("does not count: {error}"),
        };
        self.blame(row.size, why);
        row.root
    }

    fn blame(&mut self, size: u64, why: String) {
        let place = "in the database";
        self.fault.get_or_insert(Fault::Checkpoint { size, place, why });
    }
}

/// All findings together: events first, then the end of the log, then the tree, then checkpoints.
fn conclude(
    auditor: &Auditor,
    authentic: bool,
    scope: &Scope,
    recorded: Recorded,
    exported: Exported,
) -> Result<Verified, VerifyError> {
    let findings: &Findings = auditor.findings();
    let tip = auditor.tip();
    let last = exported.roots.last_key_value().map_or(0, |(size, _)| *size);
    let signed = last.max(scope.covered);
    let fault = findings.fault(authentic);
    let (tree, events) = match fault {
        Some(Fault::Tile { .. }) => (fault, None),
        other => (None, other),
    };
    let cut = (signed > tip.position).then_some(Fault::Truncated {
        signed,
        found: tip.position,
        proved: findings.fitting,
    });
    let head = (tip.position != scope.end || tip.hash != scope.hash).then_some(Fault::Head {
        expected: scope.end,
        found: tip.position,
    });
    let missing = recorded.missing.map(|size| Fault::Checkpoint {
        size,
        place: "in the checkpoint folder",
        why: "is not recorded in the database, from which it was removed".to_owned(),
    });
    let fault = events
        .or(cut)
        .or(head)
        .or(tree)
        .or(recorded.fault)
        .or(exported.fault)
        .or(missing);
    match fault {
        Some(fault) => Err(fault.into()),
        None => Ok(Verified {
            tip,
            root: auditor.tree().root(),
            recorded: findings.compared - exported.roots.len() as u64,
            exported: exported.roots.len() as u64,
            signed,
            unreadable: exported.unreadable,
        }),
    }
}

/// Hashes whatever comes, on a thread of its own.
fn hash_all(mut auditor: Auditor, mut receiver: mpsc::Receiver<Work>, progress: &AtomicU64) -> Auditor {
    while let Some(work) = receiver.blocking_recv() {
        match work {
            Work::Expect(expected) => auditor.expect(expected),
            Work::Events(events) => {
                if !events.iter().all(|event| auditor.take(event)) {
                    break;
                }
                progress.store(auditor.tip().position, Ordering::Relaxed);
            }
        }
    }
    auditor
}

/// The way to the hashing thread; closed when that has found a break.
struct Channel {
    sender: mpsc::Sender<Work>,
    open: bool,
}

impl Channel {
    async fn send(&mut self, work: Work) {
        self.open = self.open && self.sender.send(work).await.is_ok();
    }
}

impl EventRows for Channel {
    async fn take(&mut self, batch: Vec<ChainedEvent>) -> Result<(), sqlx::Error> {
        self.send(Work::Events(batch)).await;
        Ok(())
    }
}
