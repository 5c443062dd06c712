//! Small files that somebody else may have put there: keys, notes, settings, descriptions of models.
//!
//! One rule: a read ends. What is opened is opened without waiting, must be a regular file, and is read up to a limit
//! and no further, so neither a pipe nor a device nor a file without end can hold or fill this process.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// Why a file cannot be read. Says which file, what it is, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{} {why}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it; reads on after its name.
    pub why: Why,
}

/// What is wrong with a file; reads on after its name.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It is no regular file.
    #[error("is {0}, not a regular file; remove it, and put the file in its place")]
    Kind(&'static str),
    /// It is longer than any such file.
    #[error("is larger than {limit} bytes{}, and no file of its kind is; look whether it is the right one", has(.size))]
    TooLarge {
        /// Its size in bytes, where the system says it beforehand.
        size: Option<u64>,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// It holds bytes that are no text.
    #[error("is not text in UTF-8; look whether it is the right file")]
    NotText,
    /// A link whose target is not there.
    #[error("is a link to nothing; remove it, or put the file that it names in its place")]
    Dangling,
    /// The file system.
    #[error("cannot be read: {source}{}", remedy(.source))]
    Io {
        /// The system's error.
        source: io::Error,
    },
}

fn has(size: &Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(" (it has {size})"))
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; let the user that runs this program read it (chmod u+r, chown), and enter the folders above it"
        }
        ErrorKind::NotFound => "; put it there, or name another file",
        _ => "",
    }
}

impl ReadError {
    /// Whether there is nothing under that name.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&self.why, Why::Io { source } if source.kind() == ErrorKind::NotFound)
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> ReadError {
    let path = path.to_owned();
    move |error| ReadError {
        why: match error.kind() {
            ErrorKind::NotFound if path.is_symlink() => Why::Dangling,
            _ => Why::Io { source: error },
        },
        path: path.clone(),
    }
}

/// What something is called that is no regular file; `None` for one that is.
#[must_use]
pub fn other_kind(about: &Metadata) -> Option<&'static str> {
    let kind = about.file_type();
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a folder"),
        kind if kind.is_symlink() => Some("a link"),
        kind if kind.is_fifo() => Some("a named pipe"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_block_device() || kind.is_char_device() => Some("a device"),
        _ => Some("something else"),
    }
}

/// Opens the regular file at `path` for reading. Never waits. Links are followed.
///
/// # Errors
/// [`ReadError`].
pub fn open_regular(path: &Path) -> Result<File, ReadError> {
    opened(path, OpenOptions::new().read(true)).map(|(file, _)| file)
}

/// As [`open_regular`], by `options`: for adding to a file, which waits for the reader of a pipe otherwise. A link
/// as the last part of `path` is not followed.
///
/// # Errors
/// [`ReadError`].
pub fn open_regular_with(path: &Path, options: &mut OpenOptions) -> Result<File, ReadError> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    match options.custom_flags(flags.bits()).open(path) {
        Ok(file) => regular(path, file).map(|(file, _)| file),
        Err(error) => Err(explained(path, error)),
    }
}

fn opened(path: &Path, options: &mut OpenOptions) -> Result<(File, Metadata), ReadError> {
    match options.custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
        Ok(file) => regular(path, file),
        Err(error) => Err(explained(path, error)),
    }
}

/// A socket, a pipe without a reader or a link cannot be opened at all; then what it is says more than the error.
fn explained(path: &Path, error: io::Error) -> ReadError {
    let about = match error.raw_os_error() {
        Some(nix::libc::ENXIO | nix::libc::EISDIR) => path.metadata(),
        Some(nix::libc::ELOOP) => path.symlink_metadata(),
        _ => return at(path)(error),
    };
    match about.ok().as_ref().and_then(other_kind) {
        Some(kind) => of_kind(path, kind),
        None => at(path)(error),
    }
}

fn of_kind(path: &Path, kind: &'static str) -> ReadError {
    ReadError {
        path: path.to_owned(),
        why: Why::Kind(kind),
    }
}

fn regular(path: &Path, file: File) -> Result<(File, Metadata), ReadError> {
    let about = file.metadata().map_err(at(path))?;
    match other_kind(&about) {
        None => Ok((file, about)),
        Some(kind) => Err(of_kind(path, kind)),
    }
}

/// Reads the regular file at `path` whole, `limit` bytes at most. Never waits. Links are followed.
///
/// # Errors
/// [`ReadError`]; a file that says to be larger is refused before it is read.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    read_about(path, limit).map(|(bytes, _)| bytes)
}

/// As [`read_bounded`], and what the file that was read is, for whoever checks its permissions.
///
/// # Errors
/// [`ReadError`].
pub fn read_about(path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), ReadError> {
    let (file, about) = opened(path, OpenOptions::new().read(true))?;
    let size = about.len();
    if size > limit {
        return Err(too_large(path, Some(size), limit));
    }
    Ok((limited(path, file, size, limit)?, about))
}

/// As [`read_bounded`], as text.
///
/// # Errors
/// [`ReadError`].
pub fn read_text(path: &Path, limit: u64) -> Result<String, ReadError> {
    text(path, read_bounded(path, limit)?)
}

/// Reads text from whatever is at `path`, `limit` bytes at most: a pipe is waited for, as an operator may hand over
/// a secret by one.
///
/// # Errors
/// [`ReadError`].
pub fn read_text_of_any_kind(path: &Path, limit: u64) -> Result<String, ReadError> {
    let file = File::open(path).map_err(at(path))?;
    let about = file.metadata().map_err(at(path))?;
    if about.is_dir() {
        return Err(of_kind(path, "a folder"));
    }
    text(path, limited(path, file, 0, limit)?)
}

fn limited(path: &Path, file: File, size: u64, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Room for all of it at once: what is a secret is not left behind in a buffer that was outgrown.
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit) + 1).unwrap_or_default());
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(at(path))?;
    match bytes.len() as u64 > limit {
        true => Err(too_large(path, None, limit)),
        false => Ok(bytes),
    }
}

fn too_large(path: &Path, size: Option<u64>, limit: u64) -> ReadError {
    ReadError {
        path: path.to_owned(),
        why: Why::TooLarge { size, limit },
    }
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|_| ReadError {
        path: path.to_owned(),
        why: Why::NotText,
    })
}

#[cfg(test)]
mod tests {
    use super::{open_regular, open_regular_with, read_bounded, read_text, read_text_of_any_kind};
    use std::{
        fs::{self, OpenOptions},
        os::unix::fs::symlink,
        path::Path,
    };

    const LIMIT: u64 = 16;

    fn said(path: &Path) -> String {
        read_bounded(path, LIMIT).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_no_regular_file_is_named_for_what_it_is_and_never_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let socket = folder.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let link = folder.path().join("link");
        symlink(&pipe, &link).expect("a link");
        let nothing = folder.path().join("nothing");
        symlink(folder.path().join("gone"), &nothing).expect("a link");
        for (path, kind) in [
            (pipe.as_path(), "a named pipe"),
            (&link, "a named pipe"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
            (&nothing, "a link to nothing"),
        ] {
            let error = said(path);
            assert!(error.contains(&format!("is {kind}")), "{error}");
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert!(open_regular(path).is_err());
        }
        for (path, kind) in [(&pipe, "a named pipe"), (&link, "a link")] {
            let error = open_regular_with(path, OpenOptions::new().append(true)).expect_err("refused");
            assert!(error.to_string().contains(kind), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_no_further() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, [b'x'; LIMIT as usize]).expect("written");
        assert_eq!(read_text(&path, LIMIT).expect("read"), "x".repeat(LIMIT as usize));
        // Sparse: it takes no room, and would take 3 GiB of memory.
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        file.set_len(3 << 30).expect("longer");
        let error = said(&path);
        assert!(
            error.contains("larger than 16 bytes (it has 3221225472)"),
            "{error}"
        );
        // The kernel says nothing of its size beforehand.
        let error = read_bounded(Path::new("/proc/self/maps"), LIMIT).expect_err("refused");
        assert!(error.to_string().contains("larger than 16 bytes,"), "{error}");
    }

    #[test]
    fn what_is_not_there_or_no_text_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let error = read_bounded(&path, LIMIT).expect_err("refused");
        assert!(error.is_not_found(), "{error}");
        fs::write(&path, [0xff]).expect("written");
        let error = read_text(&path, LIMIT).expect_err("refused");
        assert!(
            !error.is_not_found() && error.to_string().contains("UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn a_pipe_is_read_where_one_is_wanted_but_not_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let write = |text: &'static str| {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::write(pipe, text))
        };
        let writer = write("a secret");
        assert_eq!(read_text_of_any_kind(&pipe, LIMIT).expect("read"), "a secret");
        writer.join().expect("joined").expect("written");
        let error = read_text_of_any_kind(Path::new("/dev/zero"), LIMIT).expect_err("refused");
        assert!(error.to_string().contains("larger than"), "{error}");
        let error = read_text_of_any_kind(folder.path(), LIMIT).expect_err("refused");
        assert!(error.to_string().contains("a folder"), "{error}");
    }
}
