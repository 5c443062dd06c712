//! Checking an export, without a database and without a network.
//!
//! The rule: the manifest counts after its signature, every file after the manifest, every event after the
//! tree; the first event that is not what was signed is named.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use sha2::{Digest as _, Sha256};
use small_files::{ReadError, Why};
use time::OffsetDateTime;

use super::{
    ExportError, ExportedFile, FORMAT, LEAVES, Line, MANIFEST, Manifest, SIGNATURE, file, hashes, hex,
    signed_text, unhex,
};
use crate::integrity::{
    ChainedEvent, Checkpoint, Digest, Fault, Tip, Tree, Verifier, digest, genesis, leaf, leaf_hash,
    verify_consistency,
};

/// A manifest or note that is larger is none of ours, in bytes.
const SMALL_FILE: u64 = 64 << 20;
/// A line that is longer is none of ours, in bytes.
const LINE: u64 = 64 << 20;
/// Events that are handed over at a time, and how many times ahead.
const BATCH: usize = 512;
const AHEAD: usize = 4;

/// An export that is what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedExport {
    /// What it holds.
    pub manifest: Manifest,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
    /// Names in the folder that are not of the export: nothing vouches for what they hold.
    pub unlisted: Vec<String>,
}

/// Checks the export in `folder` with the log's public key. `progress` counts events. Blocks.
///
/// # Errors
/// [`ExportError::Fault`] with the first event that is not what was recorded, [`ExportError::File`] with the
/// file, or [`ExportError::Io`].
pub fn verify(
    folder: &Path,
    verifier: &Verifier,
    progress: &AtomicU64,
) -> Result<VerifiedExport, ExportError> {
    let manifest = manifest(folder, verifier)?;
    let checkpoint = Checkpoint::open(&manifest.checkpoint, verifier)
        .map_err(|error| file(MANIFEST, format!("its checkpoint does not count: {error}")))?;
    let mut pass = Pass::begin(folder, &manifest)?;
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        // The channel closes with the reading, also when it fails.
        let reading = scope.spawn(|| {
            let sender = sender;
            read_all(folder, &manifest.events, &sender)
        });
        let checked = pass.take_all(receiver, progress);
        let read = reading
            .join()
            .unwrap_or_else(|_| Err(file(MANIFEST, "the reading broke off")));
        // An event that is wrong says more than the file that it lies in.
        checked?;
        let changed = read?;
        pass.whole(&manifest)?;
        changed.map_or(Ok(()), Err)
    })?;
    pass.end(&manifest, &checkpoint)?;
    Ok(VerifiedExport {
        unlisted: unlisted(folder, &manifest)?,
        manifest,
        checkpoint,
    })
}

/// Names in the folder that the manifest does not know, in order.
fn unlisted(folder: &Path, manifest: &Manifest) -> Result<Vec<String>, ExportError> {
    let failed = |source| ExportError::Io {
        path: folder.to_owned(),
        source,
    };
    let listed = manifest.events.iter().chain([&manifest.leaves]);
    let mut known: Vec<&str> = listed.map(|one| one.name.as_str()).collect();
    known.extend([MANIFEST, SIGNATURE]);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !known.contains(&name.as_str()) {
            found.push(name);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn small(folder: &Path, name: &str) -> Result<Vec<u8>, ExportError> {
    small_files::read_bounded(&folder.join(name), SMALL_FILE).map_err(|error| refused(folder, name, error))
}

/// A file of the export. Somebody else made it, so a pipe in its place is not waited for.
fn open(folder: &Path, name: &str) -> Result<File, ExportError> {
    small_files::open_regular(&folder.join(name)).map_err(|error| refused(folder, name, error))
}

fn refused(folder: &Path, name: &str, error: ReadError) -> ExportError {
    if error.is_not_found() && folder.is_dir() {
        return file(name, "is missing");
    }
    match error.why {
        Why::Io { source } => ExportError::Io {
            path: error.path,
            source,
        },
        why => file(name, why.to_string()),
    }
}

/// The manifest, if it is the one that was signed.
fn manifest(folder: &Path, verifier: &Verifier) -> Result<Manifest, ExportError> {
    let bytes = small(folder, MANIFEST)?;
    let note =
        String::from_utf8(small(folder, SIGNATURE)?).map_err(|_| file(SIGNATURE, "is not a signed note"))?;
    let text = verifier
        .open(&note)
        .map_err(|error| file(SIGNATURE, error.to_string()))?;
    let origin = &verifier.key().name;
    if text != signed_text(origin, &bytes) {
        return Err(file(MANIFEST, "is not the one that was signed"));
    }
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| file(MANIFEST, format!("cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        let why = format!("has format {}; this program knows {FORMAT}", manifest.format);
        return Err(file(MANIFEST, why));
    }
    Ok(manifest)
}

/// What goes over the events.
struct Pass {
    tip: Tip,
    tree: Tree,
    /// The signed leaves.
    leaves: BufReader<File>,
}

impl Pass {
    fn begin(folder: &Path, manifest: &Manifest) -> Result<Self, ExportError> {
        let wrong = || file(MANIFEST, "its numbers do not fit each other");
        let before = manifest.from.checked_sub(1).ok_or_else(wrong)?;
        let hash = unhex(&manifest.link_before).ok_or_else(wrong)?;
        let peaks = hashes(&manifest.tree_before).ok_or_else(wrong)?;
        let tree = Tree::from_peaks(before, &peaks).ok_or_else(wrong)?;
        if before == 0 && hash != genesis(manifest.store_id) {
            return Err(wrong());
        }
        authentic(folder, &manifest.leaves)?;
        Ok(Self {
            tip: Tip {
                position: before,
                hash,
                at: OffsetDateTime::UNIX_EPOCH,
            },
            tree,
            leaves: BufReader::with_capacity(256 << 10, open(folder, LEAVES)?),
        })
    }

    fn take_all(&mut self, events: Receiver<Vec<ChainedEvent>>, progress: &AtomicU64) -> Result<(), Fault> {
        for batch in events {
            for event in &batch {
                self.take(event)?;
            }
            progress.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn take(&mut self, event: &ChainedEvent) -> Result<(), Fault> {
        let prints = event.prints();
        self.tip.advance_with(event, &prints)?;
        let hash = leaf_hash(&leaf(&event.link(&prints)));
        let mut signed: Digest = [0; 32];
        if self.leaves.read_exact(&mut signed).is_err() || signed != hash {
            let position = event.position;
            return Err(Fault::Committed { position });
        }
        self.tree.push(hash, &mut Vec::new());
        Ok(())
    }

    /// Whether all events came.
    fn whole(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        let left = self.leaves.read(&mut [0]).unwrap_or(1) > 0;
        match self.tip.position == manifest.to && !left {
            true => Ok(()),
            false => Err(Fault::Truncated {
                signed: manifest.to,
                found: self.tip.position,
                proved: self.tip.position,
            }),
        }
    }

    /// What must hold at the end.
    fn end(self, manifest: &Manifest, checkpoint: &Checkpoint) -> Result<(), ExportError> {
        let consistency = hashes(&manifest.consistency);
        let consistent = consistency.is_some_and(|proof| {
            let signed = (checkpoint.size, &checkpoint.root);
            verify_consistency((self.tree.size(), &self.tree.root()), signed, &proof)
        });
        match consistent && unhex(&manifest.last_link) == Some(self.tip.hash) {
            true => Ok(()),
            false => Err(file(MANIFEST, "the events do not fit its checkpoint")),
        }
    }
}

/// Whether a file has the content that the manifest says.
fn authentic(folder: &Path, known: &ExportedFile) -> Result<(), ExportError> {
    let mut input = BufReader::with_capacity(256 << 10, open(folder, &known.name)?);
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        let read = input
            .fill_buf()
            .map_err(|error| file(&known.name, format!("cannot be read: {error}")))?;
        if read.is_empty() {
            return same(known, bytes, hash);
        }
        hash.update(read);
        bytes += read.len() as u64;
        let read = read.len();
        input.consume(read);
    }
}

fn same(known: &ExportedFile, bytes: u64, hash: Sha256) -> Result<(), ExportError> {
    match bytes == known.bytes && hex(&hash.finalize()) == known.sha256 {
        true => Ok(()),
        false => Err(file(
            &known.name,
            "is not the file that was exported: it was changed",
        )),
    }
}

/// Reads all files of events, and hands the events over; ends early when nobody takes them any more. Gives
/// back that a file is not the one that was exported, if so: what its events show comes first.
fn read_all(
    folder: &Path,
    files: &[ExportedFile],
    events: &SyncSender<Vec<ChainedEvent>>,
) -> Result<Option<ExportError>, ExportError> {
    let mut changed = None;
    for known in files {
        let mut reader = BufReader::with_capacity(256 << 10, open(folder, &known.name)?);
        let (mut hash, mut bytes, mut batch, mut line) = (Sha256::new(), 0, Vec::new(), Vec::new());
        let mut first = None;
        loop {
            line.clear();
            let read = (&mut reader).take(LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|error| file(&known.name, format!("cannot be read: {error}")))?;
            if read == 0 {
                break;
            }
            hash.update(&line);
            bytes += read as u64;
            let event = event(&line).ok_or_else(|| {
                // What came before is checked first, so that the first wrong event is named.
                drop(events.send(std::mem::take(&mut batch)));
                let place = first.map_or_else(
                    || "its first line".to_owned(),
                    |last| format!("the line after event {last}"),
                );
                file(&known.name, format!("{place} is not an event as it was exported"))
            })?;
            first = Some(event.position);
            batch.push(event);
            if batch.len() >= BATCH && events.send(std::mem::take(&mut batch)).is_err() {
                return Ok(changed);
            }
        }
        if events.send(batch).is_err() {
            return Ok(changed);
        }
        changed = changed.or(same(known, bytes, hash).err());
    }
    Ok(changed)
}

fn event(line: &[u8]) -> Option<ChainedEvent> {
    let line: Line<'_> = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
    let hash = unhex(&line.link)?;
    let data = line.data.into_owned();
    Some(ChainedEvent {
        position: line.position,
        id: line.id,
        stream: line.stream.into_owned(),
        revision: line.revision,
        kind: line.kind.into_owned(),
        schema_version: line.schema_version,
        at: line.at,
        data_hash: digest(data.as_bytes()),
        data,
        meta: line.meta.into_owned(),
        hash,
    })
}
