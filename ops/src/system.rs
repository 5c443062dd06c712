//! The composition root: everything that one process of Anneal is made of, started and stopped in order.

mod eraser;
mod import;
mod integrity;
pub mod keys;
mod log;
mod sealing;
mod setup;
mod worker;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use api::{
    app::{App, AppParts, AppSettings, OutboxMailer},
    auth::{
        password::{HashingLane, HashingSettings},
        secret::Secret,
        token::AccessTokens,
    },
    graphql::executor::SchemaExecutor,
    http::{
        door::{Door, DoorOptions},
        routes::{Probe, Routes},
        server::{LayerOptions, ServerOptions, Shutdown, bind, serve, with_common_layers},
    },
    ingest::IngestLimits,
    rate::{Lockout, LockoutSettings, Quota, RateLimiter},
};
use domain::{
    clock::{Clock, SystemClock},
    event_store::EventStore,
    execute::Ports,
    id::{Ids, SystemIds},
};
use event_store::postgres::{LogIntegrity, app_pool};
use objects::Objects;
use projections::{access::directory::Directory, feed::FeedHub};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    postgres::{Cluster, DataFolder, Options},
    telemetry,
};

use import::FolderImporter;
pub use integrity::{checkpoint_folder, evidence, key_file, log_key_fault, own_verifier};
use keys::InstallationKeys;
pub use log::{EventLog, only_in_postgres, open as open_log};
pub use sealing::{opened, sealed};
pub use setup::{SETUP_TOKEN_FILE, outbox};
pub use worker::TRAIN_COMMAND;

/// The version of Anneal.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Name of the database in the embedded cluster.
pub(crate) const DATABASE: &str = "anneal";
/// Connections for read models.
const POOL: u32 = 12;
/// How long the log may take to record what waits at the end.
const CLOSE: Duration = Duration::from_secs(10);
/// How often the running parts are looked after.
const WATCH: Duration = Duration::from_secs(1);
/// Registrations, logins and refreshes per address and minute (RL-3).
const ATTEMPTS_PER_MINUTE: u32 = 100;

/// What a start may be given besides the configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// The program that training jobs are run by: this binary.
    pub program: PathBuf,
    /// Tries per address and minute on routes that need no account.
    pub attempts_per_minute: u32,
}

impl Surroundings {
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

/// What keeps the data folder ours.
enum Home {
    /// With a database of our own.
    Embedded(Arc<Cluster>),
    /// With a database elsewhere.
    Elsewhere(#[expect(dead_code, reason = "held for its lock")] DataFolder),
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
    eraser: JoinHandle<()>,
    working: CancellationToken,
    workers: Vec<workers::WorkerHandle>,
}

async fn open_home(config: &Config) -> anyhow::Result<(Home, String)> {
    let folder = config.general.data_dir.clone();
    if let Some(url) = &config.database.url.0 {
        let home = tokio::task::spawn_blocking(move || DataFolder::open(&folder)).await??;
        return Ok((Home::Elsewhere(home), url.clone()));
    }
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&folder, &Options::default())).await??;
    fail::fail_point!("setup.cluster_started");
    let url = cluster.create_database(DATABASE).await?;
    fail::fail_point!("setup.database_created");
    Ok((Home::Embedded(Arc::new(cluster)), url))
}

fn objects(config: &Config, ids: Arc<dyn Ids>) -> anyhow::Result<Objects> {
    let folder = config
        .objects
        .url
        .0
        .clone()
        .unwrap_or_else(|| config.general.data_dir.join("objects"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let folder =
        std::fs::canonicalize(&folder).with_context(|| format!("cannot open {}", folder.display()))?;
    let url = url::Url::from_file_path(&folder)
        .map_err(|()| anyhow::anyhow!("{} is not an absolute path", folder.display()))?;
    Ok(Objects::open(url.as_str(), ids)?)
}

fn ingest_limits(config: &Config) -> IngestLimits {
    let mut limits = IngestLimits {
        expanded_bytes: config.uploads.max_bytes,
        compressed_bytes: config.uploads.max_bytes,
        expansion: config.uploads.max_ratio,
        ..IngestLimits::default()
    };
    limits.lines.line_bytes = usize::try_from(config.uploads.max_line_bytes).unwrap_or(usize::MAX);
    limits
}

impl System {
    /// Starts everything, in the order in which things need each other. Idempotent on the data folder: the
    /// second start finds what the first left.
    ///
    /// # Errors
    /// The first thing that cannot be had, with what to do; what was started is stopped again.
    pub async fn start(config: &Config, surroundings: Surroundings) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics()?;
        let data_dir = config.general.data_dir.clone();
        // What a start can be refused for without touching anything comes first.
        let found = worker::find(config, &surroundings).await?;
        let (home, url) = open_home(config).await?;
        // Listening comes early: a port in use is found before anything is changed.
        let listener = bind(config.http.address).await?;
        let bound = listener.local_addr()?;
        fail::fail_point!("setup.before_migration");
        projections::database::migrate(&url).await?;
        fail::fail_point!("setup.migrated");
        let events = config.events.url.0.clone().unwrap_or_else(|| url.clone());
        let store = log::open(&events, &url, surroundings.clock.clone()).await?;
        let integrity = integrity::start(config, &events, surroundings.clock.clone()).await?;
        let pool = app_pool(&url, POOL).await?;
        let shutdown = Shutdown::default();
        let background = CancellationToken::new();
        // A start that fails from here on tells what runs already.
        let abandoned = background.clone().drop_guard();
        let clock = surroundings.clock.clone();
        let (sealed, person_keys) = sealing::sealed(store.clone(), pool.clone(), &data_dir, clock).await?;
        let port: Arc<dyn EventStore> = Arc::new(sealed);
        let ports = Ports::new(port.clone(), surroundings.clock.clone(), surroundings.ids.clone());
        fail::fail_point!("setup.before_roles");
        setup::seed_roles(&ports).await?;
        fail::fail_point!("setup.roles_recorded");
        let directory = Directory::start(port.clone(), background.clone()).await?;
        let (progress, projections) =
            projections::runner::start(port.clone(), pool.clone(), projections::all, background.clone());
        let feed = FeedHub::start(port, background.clone());
        let objects = objects(config, surroundings.ids.clone())?;
        objects
            .sweep_staging(surroundings.clock.now())
            .await
            .context("cannot clean up the object store")?;
        let InstallationKeys { pepper, signing } =
            InstallationKeys::open(&pool, ports.store.as_ref(), &data_dir).await?;
        let keys = Arc::new(signing);
        let hashing = HashingSettings {
            memory_kib: config.auth.argon2_memory_kib,
            iterations: config.auth.argon2_iterations,
            lanes: usize::try_from(config.auth.lanes)?,
        };
        let parts = AppParts {
            directory: directory.clone(),
            progress,
            pool: pool.clone(),
            feed: feed.clone(),
            objects: objects.clone(),
            tokens: AccessTokens::new(keys.clone(), "anneal".to_owned(), "anneal".to_owned()),
            keys,
            lane: HashingLane::new(hashing, &Secret::new(pepper.claim("key", "password hashes")))?,
            pepper,
            importer: Arc::new(FolderImporter::new(
                config.models.folder.0.clone(),
                objects.clone(),
            )),
            lockout: Lockout::new(LockoutSettings::default()),
            attempts: RateLimiter::new(Quota::new(
                surroundings.attempts_per_minute,
                Duration::from_secs(60),
            )),
            mailer: Arc::new(OutboxMailer::new(outbox(&data_dir), surroundings.ids.clone())),
            settings: AppSettings {
                version: VERSION,
                access_token_life: Duration::from_secs(u64::from(config.auth.access_token_minutes) * 60),
                session_life: Duration::from_secs(u64::from(config.auth.refresh_token_days) * 86_400),
                self_registration: config.auth.self_registration,
                setup_token: setup::token(&data_dir, directory.is_set_up())?,
                graphiql: config.http.graphiql,
                uploads: ingest_limits(config),
                job_attempts: config.worker.max_attempts,
                longest_run_seconds: Some(config.worker.max_run_minutes)
                    .filter(|minutes| *minutes > 0)
                    .map(|minutes| minutes.saturating_mul(60)),
            },
            ports: ports.clone(),
            integrity: integrity.clone(),
        };
        fail::fail_point!("setup.token_written");
        let app = App::from(parts);
        let eraser = eraser::start(app.clone(), person_keys, background.clone());
        let working = CancellationToken::new();
        let workers = worker::start(config, &surroundings, found, &app, &working).await?;
        let names: Vec<String> = workers.iter().map(|worker| worker.name.clone()).collect();
        let probe = Probe {
            started_at: surroundings.clock.now(),
            workers: Arc::new(move || names.clone()),
        };
        let metrics_text: Option<api::http::routes::MetricsText> = config.metrics.enabled.then(|| {
            let text: api::http::routes::MetricsText = Arc::new(move || metrics.render());
            text
        });
        let options = DoorOptions {
            allowed_origins: config.http.allowed_origins.0.clone(),
            ..DoorOptions::default()
        };
        let door = Door::new(SchemaExecutor::new(app.clone()), options, shutdown.clone());
        let origins = config
            .http
            .allowed_origins
            .0
            .iter()
            .map(|origin| origin.parse())
            .collect::<Result<_, _>>();
        let layers = LayerOptions {
            ids: surroundings.ids.clone(),
            cors_origins: origins.context("http.allowed_origins is not fit for a header")?,
            strict_transport: false,
            compression: true,
        };
        let routes = Routes::new(app.clone(), probe, metrics_text).router();
        let router = with_common_layers(routes.merge(door.router()), layers);
        let ending = shutdown.clone();
        let server = tokio::spawn(async move {
            serve(listener, router, ServerOptions::default(), &ending)
                .await
                .map(|drained| {
                    tracing::info!(?drained, "requests have ended");
                })
        });
        abandoned.disarm();
        Ok(Self {
            address: bound,
            data_dir,
            app,
            database_url: url,
            home,
            store,
            integrity,
            shutdown,
            background,
            server,
            projections,
            eraser,
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
        if let Err(error) = self.eraser.await {
            tracing::warn!(%error, "the eraser ended with an error");
        }
        if let Err(error) = self.projections.await {
            tracing::warn!(%error, "the projections ended with an error");
        }
        fail::fail_point!("shutdown.before_log_closes");
        if !self.store.close(CLOSE).await {
            tracing::warn!("the event log did not record everything that waited; its callers were told so");
        }
        // After the last append, so that everything of this run is signed.
        if let Some(integrity) = &self.integrity {
            integrity.close(CLOSE).await;
        }
        self.app.pool.close().await;
        fail::fail_point!("shutdown.before_database_stops");
        if let Home::Embedded(cluster) = self.home {
            tokio::task::spawn_blocking(move || cluster.stop()).await??;
        }
        Ok(())
    }
}

/// The folder where jobs are worked on.
fn jobs_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("jobs")
}
