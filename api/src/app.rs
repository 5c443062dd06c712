//! The application behind all transports: ports, read side and authentication.

mod import;
mod mail;
mod settings;

use std::{net::IpAddr, sync::Arc, time::Duration};

use domain::{
    authz::{Principal, UserPrincipal},
    event_store::{Metadata, Position},
    execute::{Command, DEADLINE, ExecuteError, Ports, execute},
    id::SessionId,
};
use event_store::postgres::LogIntegrity;
use objects::Objects;
use projections::{access::directory::Directory, feed::FeedHub, runner::Progress};
use sqlx::PgPool;
use time::OffsetDateTime;

pub use import::{ImportError, ModelImporter};
pub use mail::{Mail, MailError, Mailer, OutboxMailer};
pub use settings::AppSettings;

use crate::{
    auth::{
        keys::{Pepper, SigningKeys},
        password::HashingPool,
        token::AccessTokens,
    },
    http::graphql::{AuthError, Credentials},
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
    /// How far the read models are.
    pub progress: Progress,
    /// The read models.
    pub pool: PgPool,
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
    pub pepper: Pepper,
    /// Who guesses too much.
    pub lockout: Lockout,
    /// Tries per address on routes that need no account.
    pub attempts: RateLimiter<AddressKey>,
    /// What sends mail.
    pub mailer: Arc<dyn Mailer>,
    /// What brings base models in.
    pub importer: Arc<dyn ModelImporter>,
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

/// Who asks, as far as one request goes.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who acts.
    pub principal: Principal,
    /// When the access token runs out.
    pub expires_at: Option<OffsetDateTime>,
    /// Recorded with what the caller brings about.
    pub meta: Metadata,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// The account, if somebody is signed in.
    #[must_use]
    pub fn user(&self) -> Option<&UserPrincipal> {
        match &self.principal {
            Principal::User(user) => Some(user),
            Principal::Anonymous | Principal::Worker(_) | Principal::System(_) => None,
        }
    }

    /// The session of the request.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.user().and_then(|user| user.session)
    }
}

impl App {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.ports.clock.now()
    }

    /// Finds out who asks. Nothing given is nobody; something wrong is an error.
    ///
    /// # Errors
    /// When the credentials do not hold, or rights are not up to date.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Caller, AuthError> {
        if credentials.api_key.is_some() {
            return Err(AuthError::Unauthenticated(
                "service API keys are not accepted; send an access token".into(),
            ));
        }
        let mut meta = Metadata {
            actor: Principal::Anonymous.actor(),
            request_id: Some(credentials.request_id.as_str().to_owned()),
            address: credentials.peer.map(|address| address.to_string()),
            user_agent: credentials.user_agent.clone(),
            correlation_id: Some(self.ports.ids.next()),
            ..Metadata::default()
        };
        let address = credentials.peer;
        let Some(token) = &credentials.bearer else {
            return Ok(Caller {
                principal: Principal::Anonymous,
                expires_at: None,
                meta,
                address,
            });
        };
        let now = self.now();
        let claims = self
            .tokens
            .verify(now, token.expose())
            .map_err(|error| AuthError::Unauthenticated(error.to_string().into()))?;
        if let Err(error) = self.directory.at_known_head(TIMEOUT).await {
            tracing::error!(%error, "access rights are behind");
            return Err(AuthError::Unavailable);
        }
        let Some(user) = self
            .directory
            .session(claims.session, now)
            .filter(|user| user.user == claims.user)
        else {
            return Err(AuthError::Unauthenticated(
                "the session has ended; log in again".into(),
            ));
        };
        meta.session = Some(claims.session.to_string());
        meta.organization = user.organization.map(|organization| organization.to_string());
        let principal = Principal::User(Box::new(user));
        meta.actor = principal.actor();
        let expires_at = OffsetDateTime::from_unix_timestamp(claims.expires_at).ok();
        Ok(Caller {
            principal,
            expires_at,
            meta,
            address,
        })
    }

    /// The caller with its rights as of the head of the log now: for what changes things.
    ///
    /// # Errors
    /// When the session has ended meanwhile, or rights are not up to date.
    pub async fn refresh(&self, caller: &Caller) -> Result<Caller, AuthError> {
        if let Err(error) = self.directory.at_head(TIMEOUT).await {
            tracing::error!(%error, "access rights are behind");
            return Err(AuthError::Unavailable);
        }
        let Some(session) = caller.session() else {
            return Ok(caller.clone());
        };
        match self.directory.session(session, self.now()) {
            Some(user) => Ok(Caller {
                principal: Principal::User(Box::new(user)),
                ..caller.clone()
            }),
            None => Err(AuthError::Unauthenticated(
                "the session has ended; log in again".into(),
            )),
        }
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
        let work = execute(&self.ports, &caller.principal, &caller.meta, command);
        tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| {
            let message = "the command was not recorded in time; its outcome is unknown".to_owned();
            Err(ExecuteError::Store(domain::event_store::StoreError::Unavailable(
                message,
            )))
        })
    }
}
