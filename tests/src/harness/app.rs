//! The whole application on a database of its own, reached through its doors only.

use std::{path::PathBuf, sync::Arc};

use anneal::{
    config::{Config, Sources},
    system::{Surroundings, System},
};
use domain::{
    clock::{Clock, to_micros},
    id::SystemIds,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::{Client, database};

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

/// Password of everybody in tests.
pub const PASSWORD: &str = "Quartz-lamp under forty maples";

/// The binary under test, which runs training jobs.
#[must_use]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("the test knows its own file");
    let folder = own
        .parent()
        .and_then(std::path::Path::parent)
        .expect("target/<profile>/deps");
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
        let token = std::fs::read_to_string(app.data_dir.join("setup-token")).expect("a set-up token");
        let input = json!({
            "setupToken": token.trim(),
            "account": { "username": "root", "email": "root@example.org", "password": PASSWORD },
        });
        let created = app
            .client()
            .run("mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { user { id } userErrors { message } } }", json!({ "i": input }))
            .await;
        assert_eq!(
            created.data("createFirstAdministrator")["userErrors"],
            json!([]),
            "{created:?}"
        );
        app.admin = app.client().login("root").await;
        app
    }

    /// Starts an application that nobody has set up.
    ///
    /// # Panics
    /// With the reason, when it does not start.
    pub async fn bare(options: TestOptions) -> Self {
        let database = database().await;
        let folder = tempfile::tempdir().expect("a folder");
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
            environment: vec![("DATABASE_URL".into(), database.url.clone().into())],
            flags,
        };
        let config = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        let clock = Arc::new(TestClock::default());
        let surroundings = Surroundings {
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            program: program(),
            attempts_per_minute: 10_000,
        };
        let system = System::start(&config, surroundings)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"));
        let url = system.url();
        Self {
            admin: Client::new(url.clone()),
            url,
            database_url: database.url,
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
        let email = format!("{name}@example.org");
        let registered = self
            .client()
            .run(
                "mutation($i: RegisterInput!) { register(input: $i) { user { id } userErrors { message } } }",
                json!({ "i": { "username": name, "email": email, "password": PASSWORD, "company": "Example" } }),
            )
            .await;
        let user = registered.data("register")["user"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{registered:?}"))
            .to_owned();
        let verified = self
            .client()
            .run(
                "mutation($t: String!) { verifyEmail(input: { token: $t }) { userErrors { message } } }",
                json!({ "t": self.mailed_token(&email) }),
            )
            .await;
        assert_eq!(
            verified.data("verifyEmail")["userErrors"],
            json!([]),
            "{verified:?}"
        );
        if role != "guest" {
            let granted = self
                .admin
                .run(
                    "mutation($i: RoleChangeInput!) { grantRole(input: $i) { userErrors { message } } }",
                    json!({ "i": { "userId": user, "role": role, "reason": "test" } }),
                )
                .await;
            assert_eq!(granted.data("grantRole")["userErrors"], json!([]), "{granted:?}");
        }
        let mut client = self.client().login(name).await;
        client.user_id = user;
        client
    }

    /// The newest verification token that was mailed to `email`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn mailed_token(&self, email: &str) -> String {
        let folder = std::fs::read_dir(self.data_dir.join("outbox")).expect("an outbox");
        let mut mails: Vec<PathBuf> = folder.map(|entry| entry.expect("a mail").path()).collect();
        mails.sort();
        let texts = mails
            .iter()
            .rev()
            .map(|path| std::fs::read_to_string(path).expect("a readable mail"));
        let mail = texts
            .into_iter()
            .find(|text| text.starts_with(&format!("To: {email}\n")))
            .expect("a mail");
        let line = mail
            .lines()
            .find(|line| line.starts_with("    "))
            .expect("a token");
        line.trim().to_owned()
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(self) {
        self.system.stop().await.expect("it stops");
    }
}
