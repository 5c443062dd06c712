//! The composition root: everything that one process of Anneal is made of, started and stopped in order.

mod application;
mod eraser;
mod http;
mod import;
mod integrity;
pub mod key_files;
pub mod keys;
mod local_erasure;
mod log;
mod reactors;
mod recording;
mod sealing;
mod setup;
mod storage;
mod worker;
mod write_side;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use api::{
    app::App,
    http::server::{Shutdown, bind},
};
use domain::{
    clock::{Clock, SystemClock},
    id::{Ids, SystemIds},
};
use event_store::postgres::LogIntegrity;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use workers::notifications::outbox::OutboxMailer;

use storage::{Home, check_models_folder, open_home};
use write_side::WriteSide;

use crate::{config::Config, telemetry};

pub use integrity::{checkpoint_folder, evidence, key_file, log_key_fault, own_verifier};
pub use log::{EventLog, only_in_postgres, open as open_log};
pub use sealing::{opened, sealed};
pub use setup::{SETUP_TOKEN_FILE, outbox};
pub use storage::{existing_objects, models_folder_fault, object_address, objects};
pub use worker::TRAIN_COMMAND;

/// The version of Anneal.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Name of the database in the embedded cluster.
pub(crate) const DATABASE: &str = "anneal";
/// How long one part may take to end: the log, to record what waits.
const CLOSE: Duration = Duration::from_secs(10);
/// How often the running parts are looked after.
const WATCH: Duration = Duration::from_secs(1);
/// Registrations, logins and refreshes per address and minute (RL-3).
const ATTEMPTS_PER_MINUTE: u32 = 100;

/// The environment of a start, besides the configuration.
#[derive(Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// The program that training jobs are run by: this binary.
    pub program: PathBuf,
    /// Tries per address and minute on routes that need no account.
    pub attempts_per_minute: u32,
}

impl Environment {
    /// Those of the machine.
    ///
    /// # Errors
    /// When the system does not tell where this program lies.
    pub fn of_machine() -> anyhow::Result<Self> {
        Ok(Self {
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            program: std::env::current_exe().context("cannot find this program's own file")?,
            attempts_per_minute: ATTEMPTS_PER_MINUTE,
        })
    }
}

/// A running system.
pub struct System {
    /// Where it listens.
    pub address: SocketAddr,
    /// The folder of its data.
    pub data_dir: PathBuf,
    /// The application, for commands in the same process.
    pub app: App,
    /// The database in use.
    pub database_url: String,
    home: Home,
    store: Arc<dyn EventLog>,
    integrity: Option<Arc<LogIntegrity>>,
    shutdown: Shutdown,
    background: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    projections: JoinHandle<()>,
    reactors: JoinHandle<()>,
    local_erasure: JoinHandle<()>,
    recording: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    working: CancellationToken,
    workers: Vec<workers::WorkerHandle>,
}

impl System {
    /// Starts everything, in the order in which things need each other. Idempotent on the data folder: the
    /// second start finds what the first left.
    ///
    /// # Errors
    /// The first thing that cannot be had, with what to do; what was started is stopped again.
    pub async fn start(config: &Config, environment: Environment) -> anyhow::Result<Self> {
        let started = Self::started(config, environment).await;
        started.map_err(|error| key_files::naming_all(config, error))
    }

    async fn started(config: &Config, environment: Environment) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics()?;
        // What a start can be refused for without touching anything comes first.
        check_models_folder(config)?;
        let found = worker::find(config, &environment).await?;
        let (home, url) = open_home(config).await?;
        // Listening comes early: a port in use is found before anything is changed.
        let listener = bind(config.http.address).await?;
        let address = listener.local_addr()?;
        let write_side = WriteSide::open(config, &environment, &url).await?;
        let (shutdown, background) = (Shutdown::default(), CancellationToken::new());
        // A start that fails from here on tells what runs already.
        let abandoned = background.clone().drop_guard();
        let upkeep = telemetry::start_upkeep(metrics.clone(), telemetry::UPKEEP, background.clone());
        let (app, projections) = application::start(config, &environment, &write_side, &background).await?;
        let mailer = Arc::new(OutboxMailer::new(outbox(&config.general.data_dir)));
        let keys = write_side.person_keys;
        let reactors = reactors::start(&app, keys, mailer.clone(), background.clone()).await?;
        let data_dir = &config.general.data_dir;
        let local_erasure = local_erasure::start(app.clone(), mailer, data_dir, background.clone())?;
        recording::look_at_the_end(&app).await?;
        let recording = recording::start(app.clone(), background.clone());
        let working = CancellationToken::new();
        let workers = worker::start(config, &environment, found, &app, &working).await?;
        let alive = workers.iter().map(workers::WorkerHandle::liveness).collect();
        let server = http::start(config, &environment, &app, alive, metrics, listener, &shutdown)?;
        abandoned.disarm();
        Ok(Self {
            address,
            data_dir: config.general.data_dir.clone(),
            app,
            database_url: url,
            home,
            store: write_side.store,
            integrity: write_side.integrity,
            shutdown,
            background,
            server,
            projections,
            reactors,
            local_erasure,
            recording,
            upkeep,
            working,
            workers,
        })
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        format!("http://{host}:{}", self.address.port())
    }

    /// Waits until something ends the system from inside: its server, or its own database.
    ///
    /// # Errors
    /// Always, with what ended; a restart recovers.
    pub async fn failed(&self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(WATCH).await;
            anyhow::ensure!(
                !self.server.is_finished(),
                "the server stopped accepting requests; start Anneal again"
            );
            if let Home::Embedded(cluster) = &self.home {
                anyhow::ensure!(
                    cluster.is_running(),
                    "the embedded PostgreSQL ended by itself; see {}, then start Anneal again",
                    self.data_dir.join("postgres/log").display()
                );
            }
        }
    }

    /// Ends everything, in the opposite order: no new requests, work at hand done, jobs handed back with a
    /// checkpoint, everything recorded, the database stopped.
    ///
    /// # Errors
    /// When the embedded database does not stop by itself.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.token.cancel();
        self.working.cancel();
        fail::fail_point!("shutdown.begun");
        for worker in self.workers {
            worker.finished().await;
        }
        fail::fail_point!("shutdown.workers_ended");
        if let Ok(Err(error)) = self.server.await {
            tracing::warn!(%error, "the server ended with an error");
        }
        self.background.cancel();
        ended("the reactors", self.reactors).await;
        ended("what removes local data of erased persons", self.local_erasure).await;
        ended("what looks after recording", self.recording).await;
        ended("the upkeep of metrics", self.upkeep).await;
        ended("the projections", self.projections).await;
        if timeout(CLOSE, self.app.directory.ended()).await.is_err() {
            tracing::warn!("the access directory did not end in time");
        }
        fail::fail_point!("shutdown.before_log_closes");
        if !self.store.close(CLOSE).await {
            tracing::warn!("the event log did not record everything that waited; its callers were told so");
        }
        // After the last append, so that everything of this run is signed.
        if let Some(integrity) = &self.integrity {
            integrity.close(CLOSE).await;
        }
        if timeout(CLOSE, self.app.database.close()).await.is_err() {
            tracing::warn!("connections to the database are still in use; they are left behind");
        }
        fail::fail_point!("shutdown.before_database_stops");
        if let Home::Embedded(cluster) = self.home {
            tokio::task::spawn_blocking(move || cluster.stop()).await??;
        }
        Ok(())
    }
}

/// Waits for a part that was told to end, for [`CLOSE`] at most: nothing that it does is lost when it is cut off.
async fn ended(part: &str, mut running: JoinHandle<()>) {
    match timeout(CLOSE, &mut running).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "{part} ended with an error"),
        Err(_) => {
            running.abort();
            tracing::warn!("{part} did not end in time and was cut off");
        }
    }
}

/// The folder where jobs are worked on.
fn jobs_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("jobs")
}
