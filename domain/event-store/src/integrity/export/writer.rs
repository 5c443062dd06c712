//! Writing an export.
//!
//! The rule: nothing has the final name before everything is on the disk and proves itself; what is not
//! finished is removed. A log that does not verify is not exported.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    ExportError, ExportedFile, FORMAT, LEAVES, Line, MANIFEST, Manifest, SIGNATURE, events_file, file, hex,
    signed_text,
};
use crate::integrity::{
    ChainedEvent, Checkpoint, Digest, NodeHash, Signer, Tip, Tree, leaf, leaf_hash, sign, verify_consistency,
};

/// Where the range begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The log's id.
    pub store_id: Uuid,
    /// The chain before the first event.
    pub tip: Tip,
    /// Roots of the perfect trees over the events before the first one, the largest first.
    pub peaks: Vec<Digest>,
}

/// A file that is being written.
struct Output {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Output {
    fn create(folder: &Path, name: String) -> Result<Self, ExportError> {
        let path = folder.join(&name);
        let created = File::create_new(&path);
        let file = created.map_err(io(&path))?;
        Ok(Self {
            name,
            path,
            file: BufWriter::with_capacity(256 << 10, file),
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(io(&self.path))
    }

    fn finish(mut self) -> Result<ExportedFile, ExportError> {
        self.file.flush().map_err(io(&self.path))?;
        self.file.get_ref().sync_all().map_err(io(&self.path))?;
        Ok(ExportedFile {
            name: self.name,
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
        })
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Io { path, source }
}

/// See the module. Blocks on the disk.
pub struct ExportWriter {
    target: PathBuf,
    staged: PathBuf,
    beginning: Beginning,
    tip: Tip,
    tree: Tree,
    /// Events in one file at most.
    most: u64,
    in_file: u64,
    current: Option<Output>,
    leaves: Option<Output>,
    done: Vec<ExportedFile>,
}

impl ExportWriter {
    /// Begins an export into the folder `target`, which must not exist, with at most `most` events per file.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn begin(target: &Path, beginning: Beginning, most: u64) -> Result<Self, ExportError> {
        if target.exists() {
            return Err(ExportError::Exists(target.to_owned()));
        }
        let tree = Tree::from_peaks(beginning.tip.position, &beginning.peaks)
            .ok_or_else(|| file(MANIFEST, "the tree before the range is not whole"))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let staged = target.with_file_name(format!("{name}.unfinished-{}", std::process::id()));
        // A folder above that is missing is a mistake in the path, and not made.
        fs::create_dir(&staged).map_err(io(target))?;
        Ok(Self {
            leaves: Some(Output::create(&staged, LEAVES.to_owned())?),
            target: target.to_owned(),
            staged,
            tip: beginning.tip,
            tree,
            beginning,
            most: most.max(1),
            in_file: 0,
            current: None,
            done: Vec::new(),
        })
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// [`ExportError`], also when the event is not what was recorded.
    pub fn add(&mut self, event: &ChainedEvent) -> Result<(), ExportError> {
        let prints = event.prints();
        self.tip.advance_with(event, &prints)?;
        let hash = leaf_hash(&leaf(&event.link(&prints)));
        self.tree.push(hash, &mut Vec::new());
        if self.in_file == self.most {
            self.end_file()?;
        }
        let output = match &mut self.current {
            Some(output) => output,
            empty => empty.insert(Output::create(&self.staged, events_file(event.position))?),
        };
        let mut line = serde_json::to_vec(&Line::from(event))
            .map_err(|error| file(&output.name, format!("cannot be written: {error}")))?;
        line.push(b'\n');
        output.write(&line)?;
        self.in_file += 1;
        match &mut self.leaves {
            Some(leaves) => leaves.write(&hash),
            None => Ok(()),
        }
    }

    fn end_file(&mut self) -> Result<(), ExportError> {
        if let Some(output) = self.current.take() {
            self.done.push(output.finish()?);
        }
        self.in_file = 0;
        Ok(())
    }

    /// Position of the last event that was added.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.tip.position
    }

    /// Ends the export: proves it by `checkpoint` and the `consistency` with it, signs, and gives it its name.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is left then.
    pub fn finish(
        mut self,
        checkpoint: &Checkpoint,
        consistency: &[NodeHash],
        signer: &Signer,
        now: OffsetDateTime,
    ) -> Result<Manifest, ExportError> {
        self.end_file()?;
        let leaves = self.leaves.take().map(Output::finish);
        let leaves = leaves.unwrap_or_else(|| Err(file(LEAVES, "was not written")))?;
        let (ours, signed) = (self.tree.root(), (checkpoint.size, &checkpoint.root));
        if !verify_consistency((self.tree.size(), &ours), signed, consistency) {
            let why = format!(
                "the events do not fit the checkpoint of {} events",
                checkpoint.size
            );
            return Err(file(MANIFEST, why + "; run `anneal audit verify`"));
        }
        let encoded = |hashes: &[Digest]| hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
        let manifest = Manifest {
            format: FORMAT,
            store_id: self.beginning.store_id,
            origin: checkpoint.origin.clone(),
            made_at: now,
            from: self.beginning.tip.position + 1,
            to: self.tip.position,
            events: std::mem::take(&mut self.done),
            leaves,
            link_before: hex(&self.beginning.tip.hash),
            last_link: hex(&self.tip.hash),
            tree_before: encoded(&self.beginning.peaks),
            consistency: encoded(consistency),
            checkpoint: checkpoint.note.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| file(MANIFEST, format!("cannot be written: {error}")))?;
        text.push(b'\n');
        let note = sign(&signed_text(&manifest.origin, &text), signer)
            .map_err(|error| file(SIGNATURE, error.to_string()))?;
        for (name, content) in [(MANIFEST, text.as_slice()), (SIGNATURE, note.as_bytes())] {
            let mut output = Output::create(&self.staged, name.to_owned())?;
            output.write(content)?;
            output.finish()?;
        }
        if self.target.exists() {
            return Err(ExportError::Exists(self.target.clone()));
        }
        fs::rename(&self.staged, &self.target).map_err(io(&self.target))?;
        let parent = self
            .target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(io(parent))?;
        Ok(manifest)
    }
}

impl Drop for ExportWriter {
    fn drop(&mut self) {
        // After a finished export there is nothing under this name.
        drop(fs::remove_dir_all(&self.staged));
    }
}
