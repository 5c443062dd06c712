//! The files of a model's folder, pinned: what was looked at is what is read, however the folder changes meanwhile.
//!
//! The rule: a file counts once it is *held*: opened as a place only (`O_PATH`, which neither waits for a pipe nor wakes
//! a device), then asked what it is and where it lies. It is read through that handle alone, so nothing can be put in
//! its place between the look and the reading. Only regular files count, and only those of the folder itself or of the
//! `blobs/` beside it in a cache of the Hugging Face hub.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use tempfile::TempDir;

/// How the names of files end that the engine reads. Everything else in the folder is not looked at.
const ENDINGS: [&str; 5] = [".jinja", ".json", ".model", ".safetensors", ".txt"];
/// Files of a model at most; each is held open while it is imported.
const FILES: usize = 512;
/// Files that are named in a refusal.
const NAMED: usize = 50;

/// Why a folder cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// Some files are none that may be read; all of them are named.
    #[error("{0}")]
    Files(String),
    /// This machine failed.
    #[error("the files could not be opened: {0}")]
    Io(#[from] io::Error),
}

/// The pinned files of a folder. Ends with this value.
#[derive(Debug)]
pub(super) struct Pinned {
    /// A folder of links to what is held.
    view: TempDir,
    _held: Vec<File>,
}

impl Pinned {
    /// Pins the files in `folder`, a canonical path. Blocks, but never for long.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(super) fn open(folder: &Path) -> Result<Self, Unfit> {
        let places = Places::of(folder);
        let view = tempfile::Builder::new().prefix("anneal-import-").tempdir()?;
        let (mut held, mut wrong) = (Vec::new(), Vec::new());
        for name in names(folder)? {
            match places.pin(&name)? {
                Pin::Held(file) => {
                    symlink(handle(&file), view.path().join(&name))?;
                    held.push(file);
                }
                Pin::Gone => {}
                Pin::Wrong(why) => wrong.push(format!("{name} {why}")),
            }
        }
        match wrong.is_empty() {
            true => Ok(Self { view, _held: held }),
            false => Err(Unfit::Files(listed(&wrong))),
        }
    }

    /// A folder with the pinned files under their names, for readers that want one.
    pub(super) fn path(&self) -> &Path {
        self.view.path()
    }
}

/// The names in `folder` that a model's file may have, in order.
fn names(folder: &Path) -> Result<Vec<String>, Unfit> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if !name.starts_with('.') && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            names.push(name);
        }
        if names.len() > FILES {
            return Err(Unfit::Files(format!(
                "the folder has more than {FILES} files of a model"
            )));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Where files may lie.
struct Places<'a> {
    folder: &'a Path,
    blobs: Option<PathBuf>,
}

/// What became of a name.
enum Pin {
    Held(File),
    Gone,
    /// As it reads after the name.
    Wrong(String),
}

impl<'a> Places<'a> {
    fn of(folder: &'a Path) -> Self {
        Self {
            folder,
            blobs: blobs(folder),
        }
    }

    fn pin(&self, name: &str) -> io::Result<Pin> {
        let path = self.folder.join(name);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_PATH.bits())
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => return unopened(&path, error),
        };
        // Where the kernel says that the opened file lies, with every link followed.
        let lies = fs::read_link(handle(&file))?;
        if !self.may_lie_at(&lies) {
            return Ok(Pin::Wrong("leads out of the folder".to_owned()));
        }
        Ok(match other_kind(file.metadata()?.file_type()) {
            None => Pin::Held(file),
            Some(kind) => Pin::Wrong(format!("is {kind}, not a file")),
        })
    }

    fn may_lie_at(&self, path: &Path) -> bool {
        path.starts_with(self.folder) || (self.blobs.is_some() && path.parent() == self.blobs.as_deref())
    }
}

/// The `blobs` of the cache that `folder` belongs to, where it is `models--…/snapshots/<revision>`.
fn blobs(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.parent()?;
    let repository = snapshots.parent()?;
    let is_cache =
        snapshots.file_name()? == "snapshots" && repository.file_name()?.to_str()?.starts_with("models--");
    is_cache.then(|| repository.join("blobs"))
}

/// How the held file is reached.
fn handle(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// What it means that `path` could not be opened.
fn unopened(path: &Path, error: io::Error) -> io::Result<Pin> {
    let wrong = |why: &str| Ok(Pin::Wrong(why.to_owned()));
    match error.kind() {
        io::ErrorKind::NotFound if path.symlink_metadata().is_ok() => wrong("is a link to nothing"),
        io::ErrorKind::NotFound => Ok(Pin::Gone),
        io::ErrorKind::PermissionDenied => wrong("cannot be reached by this program"),
        io::ErrorKind::NotADirectory => wrong("is a link to nothing"),
        _ if error.raw_os_error() == Some(nix::libc::ELOOP) => wrong("is a link that leads in a circle"),
        _ => Err(error),
    }
}

/// What something is called that is no regular file.
fn other_kind(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a folder"),
        kind if kind.is_fifo() => Some("a pipe"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_block_device() || kind.is_char_device() => Some("a device"),
        _ => Some("something else"),
    }
}

fn listed(wrong: &[String]) -> String {
    let more = wrong.len().saturating_sub(NAMED);
    let named = wrong[..wrong.len() - more].join("; ");
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    format!("files that cannot be imported: {named}{more}")
}
