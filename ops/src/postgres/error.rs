//! Everything that can keep the embedded PostgreSQL from running, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::Missing;

/// Why the embedded PostgreSQL is not running. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The server programs are not on this machine.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Another process uses the data folder.
    #[error(
        "the data folder {folder} is in use by process {pid}; stop that one first, or choose another folder with --data"
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// What the lock file names: a process id, or "unknown".
        pid: String,
    },
    /// Who owns the folder reads what is in it, and may put other files there.
    #[error(
        "the data folder {folder} belongs to the user with the number {owner}, and Anneal runs as {us}; name a folder of its own with --data, as {}, or run: chown {us} {folder}", folder.join("anneal").display()
    )]
    OfAnotherUser {
        /// The data folder.
        folder: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        us: u32,
    },
    /// It is no data folder yet, others may enter it, and closing it would lock them out of their own things.
    #[error(
        "{folder} holds other things and is open to others (mode {mode:04o}); name a folder of its own with --data, as {}, or run: chmod 700 {folder}", folder.join("anneal").display()
    )]
    SharedFolder {
        /// The folder.
        folder: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The folder was written by a later version of Anneal.
    #[error(
        "the data folder {folder} has format {found}, and this version of Anneal reads up to {known}; run the newer version that wrote it, or restore a backup from before the upgrade"
    )]
    NewerFormat {
        /// The data folder.
        folder: PathBuf,
        /// The format in `VERSION`.
        found: u32,
        /// The format that this program writes.
        known: u32,
    },
    /// `VERSION` holds no number.
    #[error(
        "{file} does not hold a format number; this is not a data folder of Anneal, or it is damaged: choose another folder or restore a backup"
    )]
    NotOurs {
        /// The file that was read.
        file: PathBuf,
    },
    /// The cluster needs another major version of PostgreSQL than those installed.
    #[error(
        "the database in {cluster} was made by PostgreSQL {needed}, and this machine has {installed}; install PostgreSQL {needed} (or point ANNEAL_PG_BIN at its programs), or move the data with pg_dumpall of {needed}"
    )]
    OtherMajor {
        /// PostgreSQL's data folder.
        cluster: PathBuf,
        /// The major version that wrote it.
        needed: u32,
        /// The major versions found here.
        installed: String,
    },
    /// Too little room to work safely.
    #[error(
        "{folder} has {available_mib} MiB free and PostgreSQL needs at least {needed_mib} MiB; make room or choose another folder with --data"
    )]
    DiskFull {
        /// The data folder.
        folder: PathBuf,
        /// Free space in MiB.
        available_mib: u64,
        /// What is asked for in MiB.
        needed_mib: u64,
    },
    /// We are root, and there is no account to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither an account `postgres` nor `nobody`; create one (useradd --system postgres) or run Anneal as an ordinary user"
    )]
    NoAccount,
    /// The unprivileged account cannot enter a folder on the way to the data.
    #[error(
        "PostgreSQL runs as `{account}` here, which may not enter {folder}; choose a data folder elsewhere with --data, or allow it with: chmod o+x {folder}"
    )]
    Unreachable {
        /// The account.
        account: String,
        /// The first folder that is closed to it.
        folder: PathBuf,
    },
    /// The folder for the socket belongs to somebody else.
    #[error(
        "{folder} should hold the database socket and belongs to someone else; remove it, or set TMPDIR to a folder of your own"
    )]
    ForeignSocketFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A server of an earlier run does not stop.
    #[error("process {pid} still serves {cluster} and does not stop; end it with: kill -QUIT {pid}")]
    Leftover {
        /// Its process id.
        pid: i32,
        /// PostgreSQL's data folder.
        cluster: PathBuf,
    },
    /// `initdb` failed.
    #[error("creating the database failed: {said}")]
    Init {
        /// What initdb said last.
        said: String,
    },
    /// The server ended while starting.
    #[error("PostgreSQL did not start; its last words:\n{log}\n(the whole log is in {folder})")]
    Died {
        /// The last lines of its log.
        log: String,
        /// The folder of the logs.
        folder: PathBuf,
    },
    /// The server was not ready in time.
    #[error(
        "PostgreSQL was not ready after {seconds} s; its last words:\n{log}\n(the whole log is in {folder})"
    )]
    Slow {
        /// The time waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
        /// The folder of the logs.
        folder: PathBuf,
    },
    /// The server did not stop in time; its supervisor goes on trying.
    #[error("PostgreSQL did not stop within {seconds} s; the next start will finish it")]
    NotStopped {
        /// The time waited.
        seconds: u64,
    },
    /// A program could not be run, or ran too long.
    #[error("{program} could not be run: {source}")]
    Program {
        /// Its path.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The database refused.
    #[error("the database `{name}` could not be created: {source}")]
    Database {
        /// Its name.
        name: String,
        /// The reason.
        source: sqlx::Error,
    },
    /// What should be the data folder is none, or cannot be looked into.
    #[error(
        "the data folder {folder} {found}; name a folder of your own with --data, or put the folder back"
    )]
    NoFolder {
        /// What was named.
        folder: PathBuf,
        /// What it is, after its name.
        found: String,
    },
    /// There are traces of an installation, and its database is gone.
    #[error(
        "the data folder {folder} has {traces} of an installation but no database: {} is not there. Restore it from the \
         backup of the data folder; if the database is on a server, name it with DATABASE_URL; or choose another folder \
         with --data. Nothing was made, since an empty database would be in the way of a restore",
        folder.join("postgres/cluster").display()
    )]
    LostDatabase {
        /// The data folder.
        folder: PathBuf,
        /// What is there, in words.
        traces: String,
    },
    /// A small file cannot be read, or is none.
    #[error(transparent)]
    File(#[from] small_files::ReadError),
    /// A file operation failed.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The place.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Puts the action and the path to a failed file operation.
pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::Io { action, path, source }
}
