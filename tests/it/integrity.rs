//! Evidence about the log (AU-6, C1 to C3), from outside: signed checkpoints, proofs, audits, exports.

mod attacks;
mod command_line;
mod endpoints;
mod exports;
mod signer;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    clock::SystemClock,
    event_store::{EventStore as _, Expected},
};
use event_store::{
    integrity::{CheckpointFolder, Verifier},
    postgres::{
        Evidence, IntegrityError, IntegritySettings, LogIntegrity, PostgresEventStore, Settings,
        SigningState, address, admin_pool,
    },
};
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tests::harness::{Database, database};

use crate::event_store::make::append;

/// How long a test waits for the signer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A log of its own with a folder for key and checkpoints, without a running system.
struct Fixture {
    database: Database,
    folder: tempfile::TempDir,
    store: Arc<PostgresEventStore>,
}

impl Fixture {
    async fn new() -> Self {
        let database = database().await;
        let options = address(&database.url).expect("a URL");
        let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock));
        Self {
            store: store.await.expect("started"),
            folder: tempfile::tempdir().expect("a folder"),
            database,
        }
    }

    /// Records so many more events.
    async fn record(&self, events: usize) {
        let mut left = events;
        while left > 0 {
            let now = left.min(50);
            let name = format!("{}-{left}", self.store.known_head());
            self.store
                .append(append(&name, Expected::Any, now))
                .await
                .expect("recorded");
            left -= now;
        }
    }

    fn settings(&self) -> IntegritySettings {
        IntegritySettings {
            origin: Some("log.example/test".to_owned()),
            key_file: self.path("keys/log.key"),
            folder: self.path("checkpoints"),
            interval: Duration::from_millis(20),
            sign: true,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn try_start(&self, settings: IntegritySettings) -> Result<Arc<LogIntegrity>, IntegrityError> {
        let options = address(&self.database.url).expect("a URL");
        LogIntegrity::start(options, settings, Arc::new(SystemClock)).await
    }

    async fn start(&self) -> Arc<LogIntegrity> {
        self.try_start(self.settings()).await.expect("started")
    }

    /// Has everything signed that is recorded, and ends the signer. Gives back the log's key.
    async fn sign(&self) -> Verifier {
        let integrity = self.start().await;
        let head = self.store.known_head().0;
        reached(&integrity, head).await;
        let verifier = integrity.verifier().clone();
        integrity.close(TIMEOUT).await;
        verifier
    }

    /// Records events in stretches of one or more, each signed by itself.
    async fn signed_in_steps(&self, steps: &[usize]) -> Verifier {
        let mut verifier = None;
        for step in steps {
            self.record(*step).await;
            verifier = Some(self.sign().await);
        }
        verifier.expect("at least one step")
    }

    async fn attacker(&self) -> Attacker {
        let pool = admin_pool(&self.database.url, 1).await.expect("a pool");
        let attacker = Attacker(pool);
        for table in ["event", "event_head", "event_tree_tile", "event_tree_head"] {
            attacker
                .run(&format!("alter table {table} disable trigger user"))
                .await;
        }
        attacker
    }

    /// Everything that an auditor has.
    fn evidence(&self, verifier: &Verifier) -> Evidence {
        let exported = CheckpointFolder::new(self.path("checkpoints")).contents();
        Evidence {
            verifier: Some(verifier.clone()),
            exported: exported.expect("readable").notes,
            ..Evidence::default()
        }
    }
}

/// Somebody with the rights of the database's superuser.
struct Attacker(PgPool);

impl Attacker {
    async fn run(&self, statement: &str) {
        let done = self
            .0
            .execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned())))
            .await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Waits until everything up to `position` is signed.
async fn reached(integrity: &LogIntegrity, position: u64) {
    let wait = async {
        loop {
            match integrity.state() {
                SigningState::Signed(signed) if signed >= position => return,
                SigningState::Alarm(why) => panic!("{why}"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(TIMEOUT, wait).await.expect("signed in time");
}

/// Waits for the alarm and gives back what it says.
async fn alarm(integrity: &LogIntegrity) -> String {
    let wait = async {
        loop {
            if let SigningState::Alarm(why) = integrity.state() {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .expect("an alarm in time")
}

/// Whether a file has these permission bits.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().expect("there").permissions().mode() & 0o777
}
