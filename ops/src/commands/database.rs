//! The database of an operator's verb: the configured one, or the embedded one of the data folder.
//!
//! The rule: a verb works whether the system is up or down. What it starts itself, it stops again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use event_store::{
    kurrentdb::is_kurrentdb,
    postgres::{ConnectError, address, describe},
};
use sqlx::{Connection, PgConnection};

use crate::{
    config::Config,
    postgres::{Cluster, ClusterError, Options},
    system::DATABASE,
};

/// How long a database that another process is just starting or stopping may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long one connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no database to work on. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing was ever started in the folder.
    #[error(
        "{} holds no Anneal data; name its folder with --data, or the database with DATABASE_URL",
        .0.display()
    )]
    NoData(PathBuf),
    /// Another process holds the folder, and its database does not answer.
    #[error(
        "process {pid} holds {}, but its database does not answer ({said}); wait until it has started, or stop it and try again",
        .folder.display()
    )]
    Silent {
        /// The data folder.
        folder: PathBuf,
        /// What the folder's lock names: a process id, or "unknown".
        pid: String,
        /// What the last try said.
        said: String,
    },
    /// The first start of the system in this folder did not get as far as the log.
    #[error(
        "the database in {} cannot be used ({said}); start the system once with `anneal up`, which finishes its set-up",
        .folder.display()
    )]
    Unfinished {
        /// The data folder.
        folder: PathBuf,
        /// What the database said.
        said: String,
    },
    /// The embedded database does not start or stop.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The address cannot be read.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A thread of this program ended by itself.
    #[error("opening the database was broken off")]
    BrokenOff(#[from] tokio::task::JoinError),
}

/// A database to work on; end it with [`Opened::close`].
#[derive(Debug)]
pub struct Opened {
    /// Where the read models are.
    pub url: String,
    /// Where the log is; the same, unless `events.url` says otherwise.
    pub events: String,
    /// The server, if we had to start it.
    cluster: Option<Cluster>,
}

impl Opened {
    /// Stops the server if it was started here. Dropping does the same, without telling how it went.
    ///
    /// # Errors
    /// [`OpenError::Cluster`] when it does not stop.
    pub async fn close(self) -> Result<(), OpenError> {
        if let Some(cluster) = self.cluster {
            tokio::task::spawn_blocking(move || cluster.stop()).await??;
        }
        Ok(())
    }
}

/// Opens the database of `config`: the configured one; else the embedded one of the data folder, through the
/// process that runs it, or by starting it when none does. Reads and changes nothing in it.
///
/// # Errors
/// [`OpenError`], which says what to do. A configured database is not asked: whoever uses it finds out.
pub async fn open(config: &Config) -> Result<Opened, OpenError> {
    let (url, cluster) = match &config.database.url.0 {
        Some(url) => (url.clone(), None),
        None => match &config.events.url.0 {
            // The folder may lie on another machine; who needs its read models is told by the connection.
            Some(events) if !is_kurrentdb(events) && url_in(&config.general.data_dir)?.is_none() => {
                (events.clone(), None)
            }
            _ => embedded(&config.general.data_dir).await?,
        },
    };
    let events = config.events.url.0.clone().unwrap_or_else(|| url.clone());
    Ok(Opened { url, events, cluster })
}

fn url_in(folder: &Path) -> Result<Option<String>, OpenError> {
    Ok(Cluster::url_of_running(folder, DATABASE)?)
}

/// The embedded database, and its server if we had to start it.
async fn embedded(folder: &Path) -> Result<(String, Option<Cluster>), OpenError> {
    let begun = tokio::time::Instant::now();
    loop {
        let url = url_in(folder)?.ok_or_else(|| OpenError::NoData(folder.to_owned()))?;
        let data_dir = folder.to_owned();
        let started =
            tokio::task::spawn_blocking(move || Cluster::start(&data_dir, &Options::default())).await?;
        let pid = match started {
            Ok(cluster) => {
                let url = cluster.url(DATABASE);
                answers(&url).await.map_err(|said| OpenError::Unfinished {
                    folder: folder.to_owned(),
                    said,
                })?;
                return Ok((url, Some(cluster)));
            }
            Err(ClusterError::InUse { pid, .. }) => pid,
            Err(error) => return Err(error.into()),
        };
        match answers(&url).await {
            Ok(()) => return Ok((url, None)),
            Err(said) if begun.elapsed() > TIMEOUT => {
                let folder = folder.to_owned();
                return Err(OpenError::Silent { folder, pid, said });
            }
            // It is being started or stopped: then it answers soon, or the folder is free.
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Whether the database lets us in; else what was said.
async fn answers(url: &str) -> Result<(), String> {
    let options = address(url).map_err(|error| error.to_string())?;
    let asked = async { PgConnection::connect_with(&options).await?.close().await };
    match tokio::time::timeout(CONNECT, asked).await {
        Ok(done) => done.map_err(|error| describe(&error)),
        Err(_) => Err(format!("no answer in {} s", CONNECT.as_secs())),
    }
}
