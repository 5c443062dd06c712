//! The files of a model's folder, pinned: what was looked at is what is read, however the folder changes meanwhile.
//!
//! One rule: a file counts once it is *held*: opened as a place only (`O_PATH`, which neither waits for a pipe nor wakes
//! a device), then asked what it is and where it lies. It is read through that handle alone, so nothing can be put in
//! its place between the look and the reading. Only regular files count, and only those of the folder itself or of the
//! `blobs/` beside it in a cache of the Hugging Face hub.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileType, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// How the names of files end that the engine reads. Everything else in the folder is not looked at.
const ENDINGS: [&str; 5] = [".jinja", ".json", ".model", ".safetensors", ".txt"];
/// Files of a model at most; each is held open while it is imported.
const FILES: usize = 512;
/// Files that are named in a refusal.
const NAMED: usize = 50;

/// Why a folder cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Some files are none that may be read; all of them are named.
    #[error("{0}")]
    Files(String),
    /// This machine failed.
    #[error("the files could not be opened: {0}")]
    Io(#[from] io::Error),
}

/// By what a file is known to be the same and unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its size.
    pub bytes: u64,
    /// When it was last written, in nanoseconds since 1970; 0 for a time that cannot be said so.
    pub modified: u64,
    /// Its number in its file system.
    pub inode: u64,
}

impl Identity {
    fn of(about: &Metadata) -> Self {
        let since = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
        Self {
            bytes: about.len(),
            modified: u64::try_from(since).unwrap_or_default(),
            inode: about.ino(),
        }
    }
}

/// The pinned files of a folder. They are held open while this lives.
#[derive(Debug)]
pub struct Pinned {
    held: BTreeMap<String, (File, Identity)>,
}

impl Pinned {
    /// Pins the files in `folder`, a canonical path. Blocks, but never for long.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn open(folder: &Path) -> Result<Self, Unfit> {
        let places = Places::of(folder);
        let (mut held, mut wrong) = (BTreeMap::new(), Vec::new());
        for name in names(folder)? {
            match places.pin(&name)? {
                Pin::Held(file) => {
                    let identity = Identity::of(&file.metadata()?);
                    held.insert(name, (file, identity));
                }
                Pin::Gone => {}
                Pin::Wrong(why) => wrong.push(format!("{name} {why}")),
            }
        }
        match wrong.is_empty() {
            true => Ok(Self { held }),
            false => Err(Unfit::Files(listed(&wrong))),
        }
    }

    /// Where each pinned file is read, by its name. Good while this lives, in this process.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let path = |(name, (file, _)): (&String, &(File, Identity))| (name.clone(), handle(file));
        self.held.iter().map(path).collect()
    }

    /// Makes a folder of links to the pinned files at `view`, for readers that want one.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    pub fn view(&self, view: &Path) -> io::Result<()> {
        fs::create_dir(view)?;
        let mut paths = self.paths().into_iter();
        paths.try_for_each(|(name, path)| symlink(path, view.join(name)))
    }

    /// What the pinned file `name` was when it was pinned.
    #[must_use]
    pub fn identity(&self, name: &str) -> Option<Identity> {
        self.held.get(name).map(|(_, identity)| *identity)
    }

    /// Opens the pinned file `name` for reading.
    ///
    /// # Errors
    /// When it cannot be opened, or is none of them.
    pub fn read(&self, name: &str) -> io::Result<File> {
        let (file, _) = self.held.get(name).ok_or(io::ErrorKind::NotFound)?;
        File::open(handle(file))
    }

    /// Whether the pinned file `name` is still what it was when it was pinned.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_unchanged(&self, name: &str) -> io::Result<bool> {
        match self.held.get(name) {
            Some((file, identity)) => Ok(Identity::of(&file.metadata()?) == *identity),
            None => Ok(false),
        }
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
