//! One private PostgreSQL per test process, or one lent to many, and a fresh database per test.
//!
//! The cluster is the one that `anneal up` embeds, on the same code: a Unix socket, no port, no service,
//! also as root. It lies in memory (`/dev/shm`) when there is room, which makes `fsync` cheap without
//! switching it off, else in the temporary folder; `ANNEAL_TEST_DIR` names another place. It is removed
//! when the test process ends, also by `kill -9`.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anneal::postgres::{Cluster, Options, free_bytes};
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

/// Free space that makes memory the place to be: some hundred databases of 8 MiB, and the log.
const ROOM_IN_MEMORY: u64 = 6 * 1024 * 1024 * 1024;
/// The name of the migrated database that all others are copies of.
const TEMPLATE: &str = "template_anneal";
/// How long creating or dropping a database may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Removes the folder `$1` once its standard input closes, that is when the test process is gone, and the
/// server with it (its own supervisor stops it).
const SWEEP: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
left=300
while [ -e "$1/postgres/cluster/postmaster.pid" ] && [ "$left" -gt 0 ]; do
    sleep 0.2
    left=$((left - 1))
done
rm -rf -- "$1"
"#;

/// The variable with the data folder of a cluster that somebody else keeps running: see [`super::lending`]. Not named
/// `ANNEAL_…`, because the program under test refuses such variables that it does not know.
pub const LENT: &str = "TEST_POSTGRES_CLUSTER";

/// A running cluster with a template, ended and removed when it is dropped.
pub(super) struct Own {
    /// Its data folder.
    pub(super) folder: PathBuf,
    _cluster: Cluster,
    _sweeper: Child,
}

/// The cluster that this process takes its databases from.
struct Shared {
    folder: PathBuf,
    /// How the template is copied.
    strategy: &'static str,
    _own: Option<Own>,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A database of one test alone, migrated and empty.
#[derive(Clone, Debug)]
pub struct Database {
    /// How to reach it.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// Makes a fresh database. The first call of a process finds the cluster that is lent to it, or starts one and has
/// `migrate` prepare the template, given its URL; later calls copy the template, which takes some 10 ms. `migrate`
/// must close its connections.
///
/// # Panics
/// With the reason, when PostgreSQL cannot be started or `migrate` fails.
pub async fn database_with<E: std::fmt::Display>(
    migrate: impl AsyncFnOnce(&str) -> std::result::Result<(), E>,
) -> Database {
    let shared = SHARED
        .get_or_init(async || match share(migrate).await {
            Ok(shared) => shared,
            Err(error) => panic!("no PostgreSQL for the tests: {error}"),
        })
        .await;
    // Other processes make theirs in the same cluster.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}", std::process::id());
    let statement = format!("create database {name} template {TEMPLATE}{}", shared.strategy);
    let made = match url(&shared.folder, "postgres") {
        Ok(postgres) => administer(&postgres, statement).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = made {
        panic!("a fresh database: {error}");
    }
    let url = url(&shared.folder, &name).unwrap_or_else(|error| panic!("a fresh database: {error}"));
    Database { url, name }
}

async fn share<E: std::fmt::Display>(
    migrate: impl AsyncFnOnce(&str) -> std::result::Result<(), E>,
) -> Result<Shared> {
    let (folder, own) = match std::env::var_os(LENT) {
        Some(folder) => (PathBuf::from(folder), None),
        None => {
            let own = start(migrate).await?;
            (own.folder.clone(), Some(own))
        }
    };
    let strategy = strategy(&url(&folder, "postgres")?).await?;
    Ok(Shared {
        folder,
        strategy,
        _own: own,
    })
}

/// Where the database `name` of the cluster in `folder` is.
fn url(folder: &Path, name: &str) -> Result<String> {
    let url = Cluster::url_of_running(folder, name).map_err(Error::other)?;
    url.ok_or_else(|| Error::other(format!("{} holds no cluster", folder.display())))
}

/// How the template is copied. Measured with a template of 9 MB in memory on two cores: file by file takes
/// 40 ms, and 8 ms each when 32 are made at once; through the log (the default) 85 ms and 65 ms.
async fn strategy(postgres: &str) -> Result<&'static str> {
    let asking = async {
        let mut connection = PgConnection::connect(postgres).await?;
        let version: String = sqlx::query_scalar("show server_version_num")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(version)
    };
    let version = asking.await.map_err(Error::other)?;
    let version: u32 = version.parse().map_err(Error::other)?;
    // Before version 15 the copy is always file by file.
    Ok(if version >= 150_000 {
        " strategy file_copy"
    } else {
        ""
    })
}

/// Starts a cluster and has `migrate` prepare the template.
pub(super) async fn start<E: std::fmt::Display>(
    migrate: impl AsyncFnOnce(&str) -> std::result::Result<(), E>,
) -> Result<Own> {
    let folder = fresh_folder()?;
    let sweeper = sweep(&folder)?;
    let place = folder.clone();
    let starting = tokio::task::spawn_blocking(move || Cluster::start(&place, &options()));
    let cluster = starting.await.map_err(Error::other)?.map_err(Error::other)?;
    let url = cluster.create_database(TEMPLATE).await.map_err(Error::other)?;
    migrate(&url)
        .await
        .map_err(|error| Error::other(error.to_string()))?;
    Ok(Own {
        folder,
        _cluster: cluster,
        _sweeper: sweeper,
    })
}

/// The settings of production, with room for many tests at once and without what only replicas need.
fn options() -> Options {
    let settings = [
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("checkpoint_timeout", "30min"),
        ("log_min_messages", "warning"),
    ];
    Options {
        max_connections: 300,
        shared_buffers_mib: 128,
        settings: settings.map(|(name, value)| (name, value.to_owned())).to_vec(),
        ..Options::default()
    }
}

/// Runs one statement on the administrative database at `postgres`.
async fn administer(postgres: &str, statement: String) -> std::result::Result<(), String> {
    let work = async {
        let mut connection = PgConnection::connect(postgres).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
        connection.close().await
    };
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", DEADLINE.as_secs())),
    }
}

/// Makes the folder of this process's cluster. Its name is random, and the path is short enough for a socket.
fn fresh_folder() -> Result<PathBuf> {
    let place = match std::env::var_os("ANNEAL_TEST_DIR") {
        Some(place) => PathBuf::from(place),
        None => place_with_room(),
    };
    Ok(tempfile::Builder::new()
        .prefix("anneal-test-")
        .tempdir_in(place)?
        .keep())
}

fn place_with_room() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = free_bytes(memory).unwrap_or(0);
    if room >= ROOM_IN_MEMORY {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Starts the process that removes `folder` after us. Only we hold the pipe to it, and it holds nothing of
/// ours open, so that a caller who waits for our output to end does not wait for it.
fn sweep(folder: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    Command::new("/bin/sh")
        .args(["-c", SWEEP, "anneal-test-sweeper"])
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}
