//! The application behind all transports: ports, read side and authentication.

mod access_record;
mod authentication;
mod caller;
mod import;
mod outage;
mod requests;
mod settings;

use std::{sync::Arc, time::Duration};

use domain::{
    event_store::{Position, StoreError},
    execute::{Command, Conditions, DEADLINE, ExecuteError, Executed, Ports, execute_under},
};
use event_store::postgres::LogIntegrity;
use objects::Objects;
use projections::{access::directory::Directory, feed::FeedHub, read_model::ReadModels, runner::Progress};
use sqlx::PgPool;
use time::OffsetDateTime;

pub use access_record::ReadRefused;
pub use caller::Caller;
pub use import::{FoundModel, ImportError, ModelFolders};
pub use outage::for_clients;
pub use requests::ClientRequest;
pub use settings::AppSettings;

use crate::{
    auth::{
        keys::{Pepper, SigningKeys},
        password::HashingPool,
        token::AccessTokens,
    },
    rate::{AddressKey, Lockout, RateLimiter},
};

/// How long a request waits for access rights or read models to catch up.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that a transport needs. Built once, by the composition root.
pub struct AppParts {
    /// The ports of the write path.
    pub ports: Ports,
    /// Accounts, sessions and roles, as of the head of the log.
    pub directory: Directory,
    /// The position of the read models.
    pub progress: Progress,
    /// The read models, as clients read them.
    pub read_models: ReadModels,
    /// The database, for what is no read of a read model: health, leases, deliveries, erasures.
    pub database: PgPool,
    /// Live events.
    pub feed: FeedHub,
    /// Bytes of datasets and models.
    pub objects: Objects,
    /// Keys that sign access tokens.
    pub keys: Arc<SigningKeys>,
    /// Access tokens.
    pub tokens: AccessTokens,
    /// Where passwords are hashed.
    pub hashing_pool: HashingPool,
    /// Key for hashing reserved values.
    pub pepper: Arc<Pepper>,
    /// Who guesses too much.
    pub lockout: Lockout,
    /// Tries per address on routes that need no account.
    pub attempts: RateLimiter<AddressKey>,
    /// What looks at base models that can be imported.
    pub models: Arc<dyn ModelFolders>,
    /// Proofs about the log; `None` when it lies in a store that gives none (KurrentDB).
    pub integrity: Option<Arc<LogIntegrity>>,
    /// What can be set.
    pub settings: AppSettings,
}

/// Shared by all transports.
#[derive(Clone)]
pub struct App(Arc<AppParts>);

impl std::ops::Deref for App {
    type Target = AppParts;
    fn deref(&self) -> &AppParts {
        &self.0
    }
}

impl From<AppParts> for App {
    fn from(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl App {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.ports.clock.now()
    }

    /// Runs a command for the caller, under the deadline of the write path.
    ///
    /// # Errors
    /// See [`ExecuteError`]; running out of time counts as an unreachable store.
    pub async fn execute<C: Command>(
        &self,
        caller: &Caller,
        command: &C,
    ) -> Result<Position, ExecuteError<C::Refusal>> {
        let executed = self
            .execute_under(caller, command, &Conditions::default())
            .await?;
        Ok(executed.position())
    }

    /// Like [`App::execute`], under `conditions`: as a request that happens once, for a version that is expected.
    ///
    /// # Errors
    /// As there.
    pub async fn execute_under<C: Command>(
        &self,
        caller: &Caller,
        command: &C,
        conditions: &Conditions,
    ) -> Result<Executed, ExecuteError<C::Refusal>> {
        let work = execute_under(&self.ports, &caller.principal, &caller.meta, command, conditions);
        tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| {
            let message = "the command was not recorded in time; its outcome is unknown".to_owned();
            Err(ExecuteError::Store(StoreError::Unavailable(message)))
        })
    }
}
