//! The whole application on a database of its own, reached through its API only.

use std::{path::PathBuf, sync::Arc};

use anneal::{
    config::{Config, Sources},
    system::{Environment, System},
};
use domain::{
    clock::{Clock, to_micros},
    id::SystemIds,
};
use time::{Duration, OffsetDateTime};

pub use super::credentials::PASSWORD;
use super::{Client, database, folders::copy, people, reactors};

/// What a test may want to be different.
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// Workers in the process.
    pub workers: u32,
    /// More settings, as flags would give them.
    pub settings: Vec<(&'static str, String)>,
}

/// The machine's clock, moved by hand.
#[derive(Debug, Default)]
pub struct TestClock(std::sync::atomic::AtomicI64);

impl TestClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.whole_microseconds()).unwrap_or(i64::MAX);
        self.0.fetch_add(micros, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> OffsetDateTime {
        let offset = Duration::microseconds(self.0.load(std::sync::atomic::Ordering::SeqCst));
        to_micros(domain::clock::SystemClock.now() + offset)
    }
}

/// A running application.
pub struct TestApp {
    /// Where it listens.
    pub url: String,
    /// Its database.
    pub database_url: String,
    /// Its clock.
    pub clock: Arc<TestClock>,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// The system itself.
    pub system: System,
    /// The administrator, signed in.
    pub admin: Client,
    _folder: tempfile::TempDir,
}

/// The binary under test, which runs training jobs.
#[must_use]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("the test knows its own file");
    let folder = own.parent().expect("a folder");
    // Tests lie in target/<profile>/deps, programs beside the binary.
    let folder = match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().expect("target/<profile>"),
        _ => folder,
    };
    folder.join("anneal")
}

impl TestApp {
    /// Starts an application without workers, with an administrator.
    pub async fn start() -> Self {
        Self::start_with(TestOptions::default()).await
    }

    /// Starts an application with an administrator.
    ///
    /// # Panics
    /// With the reason, when it does not start.
    pub async fn start_with(options: TestOptions) -> Self {
        let mut app = Self::bare(options).await;
        app.admin = people::administrator(&app.url, &app.data_dir).await;
        app
    }

    /// Starts an application that nobody has set up.
    ///
    /// # Panics
    /// With the reason, when it does not start.
    pub async fn bare(options: TestOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database_url = database().await.url;
        Self::on(database_url, folder, Arc::new(TestClock::default()), options).await
    }

    /// Starts another process on the same database, with the same keys, as on a further machine.
    ///
    /// # Panics
    /// With the reason, when it does not start.
    pub async fn beside(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("data").join("keys");
        copy(&self.data_dir.join("keys"), &keys).expect("the keys are copied");
        let url = self.database_url.clone();
        let mut app = Self::on(url, folder, self.clock.clone(), TestOptions::default()).await;
        app.admin = self.admin.at(&app.url);
        app
    }

    async fn on(
        database_url: String,
        folder: tempfile::TempDir,
        clock: Arc<TestClock>,
        options: TestOptions,
    ) -> Self {
        let data_dir = folder.path().join("data");
        let mut flags = vec![
            ("data_dir".to_owned(), data_dir.display().to_string()),
            ("http.address".to_owned(), "127.0.0.1:0".to_owned()),
            ("worker.count".to_owned(), options.workers.to_string()),
            ("worker.lease_seconds".to_owned(), "3".to_owned()),
            // The weakest that is allowed: tests hash often.
            ("auth.argon2_memory_kib".to_owned(), "8192".to_owned()),
            ("auth.argon2_iterations".to_owned(), "1".to_owned()),
        ];
        flags.extend(
            options
                .settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone())),
        );
        let sources = Sources {
            file: None,
            environment: vec![("DATABASE_URL".into(), database_url.clone().into())],
            flags,
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        let environment = Environment {
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            program: program(),
            attempts_per_minute: 10_000,
        };
        let system = System::start(&config, environment)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"));
        let url = system.url();
        Self {
            admin: Client::new(url.clone()),
            url,
            database_url,
            clock,
            data_dir,
            system,
            _folder: folder,
        }
    }

    /// A client that is not signed in.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.url.clone())
    }

    /// Registers a person, verifies the address by the mailed token, grants the role and signs in.
    ///
    /// # Panics
    /// When any of it is refused.
    pub async fn person(&self, name: &str, role: &str) -> Client {
        people::person(&self.admin, &self.data_dir, name, role).await
    }

    /// The newest verification token that was mailed to `email`.
    ///
    /// # Panics
    /// When none comes.
    pub async fn mailed_token(&self, email: &str) -> String {
        people::mailed_token(&self.data_dir, email).await
    }

    /// Waits until the reactors have answered everything that is recorded by now, and nothing is to be tried again.
    ///
    /// # Panics
    /// When that takes longer than half a minute.
    pub async fn reacted(&self) {
        reactors::reacted(&self.system.app).await;
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(self) {
        self.system.stop().await.expect("it stops");
    }
}
