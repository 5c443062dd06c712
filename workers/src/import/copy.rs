//! Copies the files of an import into the object store, in a task of its own.
//!
//! One rule: the task ends by itself, soon after it was told to; whoever started it waits for that, so that nothing is
//! written behind the end of an attempt.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use domain::{jobs::import::ImportedFile, models::model::ModelFile};
use futures::TryStreamExt as _;
use objects::{Existing, Key, Objects, ObjectsError, Staged, Stored};
use sha2::{Digest, Sha256};
use tokio::{io::AsyncReadExt as _, sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::plan::{Plan, PlannedFile, changed};
use crate::attempt::{outcome::AttemptOutcome, retry::RetryBudget};

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;
/// For error texts.
const STORE: &str = "store the model";

/// How copying ended.
pub(crate) type Copied = Result<Done, AttemptOutcome>;

/// How copying ended in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All files are stored.
    All,
    /// It was told to stop.
    Stopped,
}

/// The task; see the module.
pub(crate) struct CopyTask {
    stop: CancellationToken,
    /// Stops it when nobody waits for it any more.
    _stopped: DropGuard,
    files: mpsc::Receiver<ImportedFile>,
    bytes: Arc<AtomicU64>,
    task: JoinHandle<Copied>,
}

impl CopyTask {
    /// Begins to copy the files of `plan` below `prefix`.
    pub(crate) fn start(objects: Objects, prefix: Key, plan: Plan) -> Self {
        let (sender, files) = mpsc::channel(1);
        let (stop, bytes) = (CancellationToken::new(), Arc::default());
        let copying = Copying {
            objects,
            prefix,
            plan,
            stop: stop.clone(),
            bytes: Arc::clone(&bytes),
        };
        let task = tokio::spawn(async move { copying.all(sender).await });
        Self {
            _stopped: stop.clone().drop_guard(),
            stop,
            files,
            bytes,
            task,
        }
    }

    /// The next file that is stored; `None` when there will be none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<ImportedFile> {
        self.files.recv().await
    }

    /// Bytes that are copied, those of files that were stored before included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Tells it to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Copied {
        self.files.close();
        self.task.await?
    }
}

struct Copying {
    objects: Objects,
    prefix: Key,
    plan: Plan,
    stop: CancellationToken,
    bytes: Arc<AtomicU64>,
}

impl Copying {
    async fn all(&self, sender: mpsc::Sender<ImportedFile>) -> Copied {
        for file in &self.plan.files {
            if self.stop.is_cancelled() {
                return Ok(Done::Stopped);
            }
            let Some(stored) = self.patiently(file).await? else {
                return Ok(Done::Stopped);
            };
            // Nobody listens any more: the attempt is over.
            if sender.send(stored).await.is_err() {
                return Ok(Done::Stopped);
            }
        }
        Ok(Done::All)
    }

    /// As [`one`](Self::one), again after a while where what went wrong may pass.
    async fn patiently(&self, file: &PlannedFile) -> Result<Option<ImportedFile>, AttemptOutcome> {
        let (before, mut retry) = (self.bytes.load(Ordering::Relaxed), RetryBudget::default());
        loop {
            let end = match self.one(file).await {
                Ok(stored) => return Ok(stored),
                Err(end) => end,
            };
            self.bytes.store(before, Ordering::Relaxed);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                again = retry.again(&end) => if !again { return Err(end) },
            }
        }
    }

    /// Stores `file`, unless it is; `None` when it was told to stop.
    async fn one(&self, file: &PlannedFile) -> Result<Option<ImportedFile>, AttemptOutcome> {
        let key = self.prefix.join(&file.name).map_err(|error| failed(&error))?;
        if let Some(recorded) = &file.recorded {
            match self.is_stored(&key, file, recorded).await? {
                None => return Ok(None),
                Some(true) => {
                    self.bytes.fetch_add(file.bytes, Ordering::Relaxed);
                    return Ok(Some(recorded.clone()));
                }
                Some(false) => {}
            }
        }
        let Some((sha256, outcome)) = self.copied(&key, file, Existing::Keep).await? else {
            return Ok(None);
        };
        // An attempt that died before it could record it has stored something of the same size: the same?
        if outcome == Stored::AlreadyThere && self.sha256(&key).await? != sha256 {
            self.bytes.fetch_sub(file.bytes, Ordering::Relaxed);
            let Some((again, _)) = self.copied(&key, file, Existing::Replace).await? else {
                return Ok(None);
            };
            if again != sha256 {
                return Err(changed(&file.name));
            }
        }
        Ok(Some(self.imported(file, sha256)))
    }

    fn imported(&self, file: &PlannedFile, sha256: String) -> ImportedFile {
        let identity = self.plan.pinned.identity(&file.name);
        ImportedFile {
            file: ModelFile {
                name: file.name.clone(),
                sha256,
                bytes: file.bytes,
            },
            modified: identity.map_or(0, |identity| identity.modified),
            inode: identity.map_or(0, |identity| identity.inode),
        }
    }

    /// Whether the file that is recorded is stored, and still the one in the folder; `None` when it was told to stop.
    async fn is_stored(
        &self,
        key: &Key,
        file: &PlannedFile,
        recorded: &ImportedFile,
    ) -> Result<Option<bool>, AttemptOutcome> {
        let identity = self.plan.pinned.identity(&file.name);
        let same = identity.is_some_and(|now| {
            (now.bytes, now.modified, now.inode) == (recorded.file.bytes, recorded.modified, recorded.inode)
        });
        if !same {
            // Another mount, or another file: its bytes tell.
            match self.hashed(file).await? {
                None => return Ok(None),
                Some(sha256) if sha256 == recorded.file.sha256 => {}
                Some(_) => return Err(changed(&file.name)),
            }
        }
        let found = self.objects.size(key).await.map_err(|error| failed(&error))?;
        Ok(Some(found == Some(file.bytes)))
    }

    /// Copies `file`, and says its hash; `None` when it was told to stop. Nothing is left of what is not whole.
    async fn copied(
        &self,
        key: &Key,
        file: &PlannedFile,
        existing: Existing,
    ) -> Result<Option<(String, Stored)>, AttemptOutcome> {
        let mut staged = self.objects.stage_as(key).await.map_err(|error| failed(&error))?;
        let before = self.bytes.load(Ordering::Relaxed);
        let sha256 = match self.filled(&mut staged, file).await {
            Ok(Some(sha256)) => sha256,
            stopped => {
                // Before anybody is told: whoever hears of the end finds nothing left.
                let aborted = staged.abort().await.map_err(|error| failed(&error));
                // What went wrong first is told.
                return stopped.and(aborted).map(|()| None);
            }
        };
        let stored = staged
            .publish(key, existing)
            .await
            .map_err(|error| failed(&error))?;
        self.bytes.store(before + file.bytes, Ordering::Relaxed);
        Ok(Some((sha256, stored)))
    }

    /// Writes all of `file` into `staged`, and says its hash; `None` when it was told to stop.
    async fn filled(
        &self,
        staged: &mut Staged,
        file: &PlannedFile,
    ) -> Result<Option<String>, AttemptOutcome> {
        let mut source = Source::open(&self.plan, file)?;
        while let Some(piece) = source.next().await? {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            staged.write(piece).await.map_err(|error| failed(&error))?;
            self.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        source.whole(&self.plan).map(Some)
    }

    /// The hash of `file` in the folder; `None` when it was told to stop.
    async fn hashed(&self, file: &PlannedFile) -> Result<Option<String>, AttemptOutcome> {
        let mut source = Source::open(&self.plan, file)?;
        while source.next().await?.is_some() {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
        }
        source.whole(&self.plan).map(Some)
    }

    /// The hash of what is stored at `key`.
    async fn sha256(&self, key: &Key) -> Result<String, AttemptOutcome> {
        let mut stored = self
            .objects
            .read(key, None)
            .await
            .map_err(|error| failed(&error))?;
        let mut hash = Sha256::new();
        while let Some(piece) = stored.body.try_next().await.map_err(|error| failed(&error))? {
            hash.update(&piece);
        }
        Ok(hex::encode(hash.finalize()))
    }
}

fn failed(error: &ObjectsError) -> AttemptOutcome {
    AttemptOutcome::objects(STORE, error)
}

/// A pinned file that is read once, in pieces.
struct Source<'a> {
    name: &'a str,
    expected: u64,
    file: tokio::fs::File,
    buffer: Vec<u8>,
    hash: Sha256,
    bytes: u64,
}

impl<'a> Source<'a> {
    fn open(plan: &Plan, file: &'a PlannedFile) -> Result<Self, AttemptOutcome> {
        let opened = plan.pinned.read(&file.name);
        let opened = opened.map_err(|error| unreadable(&file.name, &error))?;
        Ok(Self {
            name: &file.name,
            expected: file.bytes,
            file: tokio::fs::File::from_std(opened),
            buffer: vec![0; BUFFER],
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    async fn next(&mut self) -> Result<Option<&[u8]>, AttemptOutcome> {
        let read = self.file.read(&mut self.buffer).await;
        let read = read.map_err(|error| unreadable(self.name, &error))?;
        self.bytes += read as u64;
        // More than there was: it grows, and may do so for ever.
        if self.bytes > self.expected {
            return Err(changed(self.name));
        }
        let piece = self.buffer.get(..read).unwrap_or_default();
        self.hash.update(piece);
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// The hash of all that was read, if that is the file as it was pinned.
    fn whole(self, plan: &Plan) -> Result<String, AttemptOutcome> {
        let unchanged = plan.pinned.is_unchanged(self.name);
        match unchanged.map_err(|error| unreadable(self.name, &error))? && self.bytes == self.expected {
            true => Ok(hex::encode(self.hash.finalize())),
            false => Err(changed(self.name)),
        }
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> AttemptOutcome {
    AttemptOutcome::lost(format!("{name} cannot be read: {error}"))
}
