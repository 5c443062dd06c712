//! The cluster from start to stop.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use small_files::read_text;
use sqlx::{Connection, PgConnection};

use super::error::{ClusterError, at};
use super::folder::{DataFolder, free_bytes, refuse_no_folder, replace};
use super::handle::FolderHandle;
use super::initdb::{self, OWNER};
use super::lost::refuse_lost_database;
use super::process::wait_until;
use super::settings::{PG_HBA_CONF, postgresql_conf};
use super::socket::{self, FOR_SERVER};
use super::supervisor::{STOP_DEADLINE, Supervisor};
use super::{Account, Options, Programs, leftover};

/// The least free space to start with, MiB.
const NEEDED_MIB: u64 = 256;
/// The most that is read of a file with a few lines of the server, in bytes.
const LARGEST: u64 = 64 << 10;
/// How much of the end of a log is looked at, in bytes.
const LOG_END: u64 = 64 << 10;
/// How long creating a database may take.
const CREATE_DEADLINE: Duration = Duration::from_secs(60);

/// A running embedded PostgreSQL. Dropping it stops the server.
#[derive(Debug)]
pub struct Cluster {
    socket: PathBuf,
    programs: Programs,
    supervisor: Mutex<Option<Supervisor>>,
    _folder: DataFolder,
}

impl Cluster {
    /// Starts the cluster in the data folder `data_dir`; creates both on first use, ends what an earlier
    /// killed run left, and returns when the server accepts connections.
    ///
    /// Blocks (a second, or longer after a crash): call it through `spawn_blocking` from async code.
    ///
    /// # Errors
    /// [`ClusterError`]: each says what to do about it.
    pub fn start(data_dir: &Path, options: &Options) -> Result<Self, ClusterError> {
        refuse_no_folder(data_dir)?;
        refuse_lost_database(data_dir)?;
        let folder = DataFolder::open(data_dir)?;
        let account = Account::of_server()?;
        check_room(folder.path())?;
        let postgres_folder = folder.path().join("postgres");
        give_folder(&postgres_folder, &account)?;
        let log = postgres_folder.join("log");
        give_folder(&log, &account)?;
        let cluster = postgres_folder.join("cluster");
        let programs = programs_for(&cluster)?;
        let socket = socket::prepare(&postgres_folder, &account)?;
        if cluster.join("PG_VERSION").exists() {
            leftover::end(&cluster, &socket, &account)?;
        } else {
            initdb::create(&cluster, &programs, &account)?;
        }
        write_settings(&cluster, &account, options)?;
        fail::fail_point!("setup.before_server");
        let supervisor = launch(&cluster, &log, &programs, &account, options)?;
        Ok(Self {
            socket,
            programs,
            supervisor: Mutex::new(Some(supervisor)),
            _folder: folder,
        })
    }

    /// Where clients find the database `name`: a URL over the private socket. It holds no secret.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        url_at(&self.socket, name)
    }

    /// Where clients find the database `name` of the cluster that another process runs in the data folder
    /// `data_dir`. `None` when the folder holds no cluster. Whether one runs there, a connection tells.
    ///
    /// # Errors
    /// [`ClusterError::Io`] when the folder cannot be looked into.
    pub fn url_of_running(data_dir: &Path, name: &str) -> Result<Option<String>, ClusterError> {
        let folder = match data_dir.canonicalize() {
            Ok(folder) => folder.join("postgres"),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("open", data_dir)(error)),
        };
        let version = folder.join("cluster/PG_VERSION");
        let is_there = version.try_exists().map_err(at("look at", &version))?;
        Ok(is_there.then(|| url_at(&socket::find(&folder), name)))
    }

    /// The programs it runs on.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Creates the database `name` unless it is there, and returns its URL. Idempotent.
    ///
    /// # Errors
    /// [`ClusterError::Database`] when PostgreSQL refuses or does not answer in a minute.
    pub async fn create_database(&self, name: &str) -> Result<String, ClusterError> {
        let failed = |source| ClusterError::Database {
            name: name.to_owned(),
            source,
        };
        let creating = async {
            let mut connection = PgConnection::connect(&self.url("postgres")).await?;
            let known: bool =
                sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                    .bind(name)
                    .fetch_one(&mut connection)
                    .await?;
            if !known {
                let statement = format!("create database \"{}\"", name.replace('"', "\"\""));
                sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                    .execute(&mut connection)
                    .await?;
            }
            connection.close().await
        };
        match tokio::time::timeout(CREATE_DEADLINE, creating).await {
            Ok(done) => done.map_err(failed)?,
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
        }
        Ok(self.url(name))
    }

    /// Whether the server still runs. When it does not although nobody called [`Cluster::stop`], the
    /// process should end with an error: a restart recovers.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.supervisor()
            .as_mut()
            .is_some_and(|supervisor| !supervisor.has_ended())
    }

    /// Stops the server cleanly and waits for it (blocking, usually well under a second). Open
    /// transactions are rolled back; what was committed is on the disk. Idempotent.
    ///
    /// # Errors
    /// [`ClusterError::NotStopped`] when the server is still there after the deadline.
    pub fn stop(&self) -> Result<(), ClusterError> {
        let mut running = self.supervisor();
        let Some(mut supervisor) = running.take() else {
            return Ok(());
        };
        if supervisor.stop() {
            Ok(())
        } else {
            Err(ClusterError::NotStopped {
                seconds: STOP_DEADLINE.as_secs(),
            })
        }
    }

    fn supervisor(&self) -> MutexGuard<'_, Option<Supervisor>> {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn url_at(socket: &Path, name: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let host = encode(&socket.to_string_lossy());
    // A space is a plus only after the question mark.
    let name = encode(name).replace('+', "%20");
    format!("postgres:///{name}?host={host}&user={OWNER}")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the embedded database");
        }
    }
}

fn check_room(folder: &Path) -> Result<(), ClusterError> {
    let available = free_bytes(folder).map_err(at("measure the free space of", folder))?;
    let available_mib = available / (1024 * 1024);
    if available_mib < NEEDED_MIB {
        return Err(ClusterError::DiskFull {
            folder: folder.to_owned(),
            available_mib,
            needed_mib: NEEDED_MIB,
        });
    }
    Ok(())
}

/// Makes a private folder of the server's account.
fn give_folder(path: &Path, account: &Account) -> Result<(), ClusterError> {
    super::folder::make_private(path)?;
    account.own(path)
}

/// The programs that fit an existing cluster, or the preferred ones for a new cluster.
fn programs_for(cluster: &Path) -> Result<Programs, ClusterError> {
    let preferred = Programs::find()?;
    let file = cluster.join("PG_VERSION");
    let needed: u32 = match read_text(&file, LARGEST) {
        Ok(text) => text.trim().parse().map_err(|_| ClusterError::NotOurs { file })?,
        Err(error) if error.is_not_found() => return Ok(preferred),
        Err(error) => return Err(error.into()),
    };
    let installed = Programs::installed();
    if let Some(programs) = installed.iter().find(|programs| programs.major() == needed) {
        return Ok(programs.clone());
    }
    let majors: Vec<String> = installed
        .iter()
        .map(|programs| programs.major().to_string())
        .collect();
    let installed = majors.join(", ");
    Err(ClusterError::OtherMajor {
        cluster: cluster.to_owned(),
        needed,
        installed,
    })
}

fn write_settings(cluster: &Path, account: &Account, options: &Options) -> Result<(), ClusterError> {
    let conf = postgresql_conf(options, FOR_SERVER);
    replace(&cluster.join("postgresql.conf"), &conf, |file| account.own(file))?;
    replace(&cluster.join("pg_hba.conf"), PG_HBA_CONF, |file| {
        account.own(file)
    })
}

/// Starts the server and waits until it is ready.
fn launch(
    cluster: &Path,
    log: &Path,
    programs: &Programs,
    account: &Account,
    options: &Options,
) -> Result<Supervisor, ClusterError> {
    let program = programs.postgres();
    let folder = FolderHandle::open(cluster, account)?;
    // What a dead server wrote there last must not be taken for the new one's word.
    let before = pid_file(cluster);
    let mut supervisor = Supervisor::start(&program, &folder, account, start_log(log)?)?;
    let is_ready = || {
        let now = pid_file(cluster);
        now != before && now.lines().nth(7).is_some_and(|status| status.trim() == "ready")
    };
    let mut ended = false;
    let waited = wait_until(options.start_deadline, || {
        ended = supervisor.has_ended();
        ended || is_ready()
    });
    if ended {
        return Err(ClusterError::Died {
            log: last_words(log),
            folder: log.to_owned(),
        });
    }
    if !waited {
        supervisor.stop();
        let seconds = options.start_deadline.as_secs();
        return Err(ClusterError::Slow {
            seconds,
            log: last_words(log),
            folder: log.to_owned(),
        });
    }
    Ok(supervisor)
}

fn pid_file(cluster: &Path) -> String {
    read_text(&cluster.join("postmaster.pid"), LARGEST).unwrap_or_default()
}

/// What is said before the server has its own log.
fn start_log(log: &Path) -> Result<File, ClusterError> {
    let path = log.join("start.log");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at("remove", &path)(error)),
        _ => {}
    }
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(at("write", &path))
}

/// The end of a log, however long it has become.
fn end_of(path: &Path) -> Option<String> {
    let mut file = small_files::open_regular(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of the start log and of the newest server log.
fn last_words(log: &Path) -> String {
    let newest = std::fs::read_dir(log)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name != "start.log"))
        .max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    let mut lines: Vec<String> = Vec::new();
    for path in [Some(log.join("start.log")), newest].into_iter().flatten() {
        let text = end_of(&path).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        lines.extend(
            all.iter()
                .skip(all.len().saturating_sub(8))
                .map(|line| format!("    {line}")),
        );
    }
    if lines.is_empty() {
        "    (nothing)".into()
    } else {
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
