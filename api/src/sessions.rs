//! How sessions begin and go on: passwords, tokens, and what slows guessing down.

mod login;

use std::time::Duration;

pub use login::{Attempt, login};

use domain::{
    aggregate::{Aggregate, load},
    audit::record::record_refused_token,
    event_store::{Position, StoreError},
    execute::ExecuteError,
    id::{SessionId, UserId},
    identity::{
        keys::IdentityKeys as _,
        reservation::ReservationKey,
        session::{OpenSession, RefreshRefusal, RefreshSession, Session},
        tokens::TokenKind,
        user::User,
    },
};

use crate::{
    app::{App, Caller, for_clients},
    auth::{
        password::{HashingPoolError, Password},
        secret::Secret,
        token::{OpaqueKind, OpaqueToken},
    },
    rate::AddressKey,
};

/// What a client gets to go on with.
pub struct Tokens {
    /// Access token.
    pub access: Secret,
    /// How long it lives.
    pub expires_in: Duration,
    /// Refresh token: session id and secret.
    pub refresh: Secret,
    /// The session.
    pub session: SessionId,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Wrong name or password; the same words for every cause.
    #[error("{0}")]
    Refused(String),
    /// The refresh token is not good, or was used before.
    #[error(transparent)]
    RefreshToken(#[from] RefreshRefusal),
    /// Too many tries from this address.
    #[error("too many attempts; try again in {} s", .0.as_secs().max(1))]
    RateLimited(Duration),
    /// More passwords are waiting to be checked than is good.
    #[error("too many logins at once, try again in a moment")]
    Busy,
    /// Nothing can be recorded, and so no session.
    #[error("{0}")]
    NotRecorded(&'static str),
    /// The store or the hashing pool failed; the process log has the details.
    #[error("logging in is not possible at present, try again")]
    Unavailable,
}

impl SessionError {
    /// The code that clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::RefreshToken(_) => "UNAUTHENTICATED",
            Self::RateLimited(_) | Self::Busy => "RATE_LIMITED",
            Self::NotRecorded(_) | Self::Unavailable => "UNAVAILABLE",
        }
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> SessionError {
    tracing::error!(%error, "a session could not be made");
    SessionError::Unavailable
}

/// Why a command of ours was not executed, besides its own refusals.
fn not_executed<R: std::fmt::Display + std::fmt::Debug>(error: &ExecuteError<R>) -> SessionError {
    let failed = unavailable(&format!("{error:?}"));
    match error {
        ExecuteError::Store(error) if !matches!(error, StoreError::Unavailable(_)) => {
            for_clients(error).map_or(failed, SessionError::NotRecorded)
        }
        _ => failed,
    }
}

impl From<HashingPoolError> for SessionError {
    fn from(error: HashingPoolError) -> Self {
        match error {
            HashingPoolError::Busy => Self::Busy,
            other => unavailable(&other),
        }
    }
}

/// The reservation key of a value: it makes the value unique without revealing it.
#[must_use]
pub fn reservation_key(app: &App, scope: &str, normalised: &str) -> ReservationKey {
    app.pepper.reservation(scope, normalised)
}

/// The reservation keys of an account's username and e-mail address; of empty values if there is no such account.
///
/// # Errors
/// When the log cannot be read.
pub async fn reservation_keys_of(
    app: &App,
    user: UserId,
) -> Result<(ReservationKey, ReservationKey), SessionError> {
    let profile = folded::<User>(app, user).await?.profile;
    let (username, email) = profile
        .map(|profile| (profile.username, profile.email))
        .unwrap_or_default();
    Ok((
        reservation_key(app, "username", &username),
        reservation_key(app, "email", &email.trim().to_lowercase()),
    ))
}

/// An aggregate as the log has it now.
async fn folded<A: Aggregate>(app: &App, key: impl std::fmt::Display) -> Result<A, SessionError> {
    let loaded = load::<A>(app.ports.store.as_ref(), key).await;
    Ok(loaded.map_err(|error| unavailable(&error))?.state)
}

/// Slows down whoever tries too often from one address (RL-3).
///
/// # Errors
/// When it was too often.
pub fn admit(app: &App, caller: &Caller) -> Result<(), SessionError> {
    let Some(address) = caller.address else {
        return Ok(());
    };
    match app.attempts.check(&AddressKey::from(address), app.now()) {
        Ok(_) => Ok(()),
        Err(limited) => Err(SessionError::RateLimited(limited.retry_after)),
    }
}

/// Hashes a new password off the runtime.
///
/// # Errors
/// When too many wait, or the hasher fails.
pub async fn hash(app: &App, password: String) -> Result<String, SessionError> {
    let password = Password::new(password).map_err(|error| SessionError::Refused(error.to_string()))?;
    Ok(app.hashing_pool.hash(password).await?)
}

/// Whether `presented` is the set-up token. One that is not is recorded.
///
/// # Errors
/// When that cannot be recorded.
pub async fn setup_token_matches(app: &App, caller: &Caller, presented: &str) -> Result<bool, SessionError> {
    let token = app.settings.setup_token.as_ref();
    if token.is_some_and(|token| crate::auth::secret::same(token.expose(), presented.trim())) {
        return Ok(true);
    }
    token_refused(app, caller, TokenKind::Setup, None).await?;
    Ok(false)
}

/// Records or counts a token that was presented and is not good.
///
/// # Errors
/// When it cannot be recorded.
pub async fn token_refused(
    app: &App,
    caller: &Caller,
    kind: TokenKind,
    user: Option<UserId>,
) -> Result<(), SessionError> {
    let address = caller
        .address
        .map(|address| AddressKey::from(address).to_string());
    let address = address.unwrap_or_default();
    let recording = record_refused_token(&app.ports, &caller.meta, &address, kind, user);
    let recorded = tokio::time::timeout(crate::app::TIMEOUT, recording).await;
    match recorded {
        Ok(recorded) => recorded.map_err(|error| not_executed(&error)),
        Err(elapsed) => Err(unavailable(&elapsed)),
    }
}

/// Takes a verification token apart: whose, and its hash.
#[must_use]
pub fn read_verification_token(presented: &str) -> Option<(UserId, String)> {
    let (user, secret) = presented.trim().split_once('.')?;
    Some((
        user.parse().ok()?,
        OpaqueToken::hash(OpaqueKind::Verification, secret)?,
    ))
}

async fn open(
    app: &App,
    caller: &Caller,
    user: UserId,
    proof: login::Proof,
    device: Option<String>,
) -> Result<(Tokens, Position), SessionError> {
    let session = SessionId(app.ports.ids.next());
    let token = OpaqueToken::generate(OpaqueKind::Refresh).map_err(|error| unavailable(&error))?;
    let command = OpenSession {
        session,
        user,
        proven: proof.proven,
        rehashed: proof.rehashed,
        refresh_hash: token.hash,
        expires_at: app.now() + app.settings.session_life,
        device,
    };
    let caller = on_behalf(caller, user);
    match app.execute(&caller, &command).await {
        Ok(position) => Ok((tokens(app, user, session, token.secret.expose()), position)),
        Err(ExecuteError::Refused(reason)) => Err(SessionError::Refused(reason.to_string())),
        Err(error) => Err(not_executed(&error)),
    }
}

/// The caller, recorded as the user whose secret it has just proven to know.
fn on_behalf(caller: &Caller, user: UserId) -> Caller {
    let mut caller = caller.clone();
    caller.meta.actor = format!("user:{user}");
    caller
}

fn tokens(app: &App, user: UserId, session: SessionId, secret: &str) -> Tokens {
    let life = app.settings.access_token_life;
    let access = app
        .tokens
        .issue(app.now(), user, session, app.ports.ids.next(), life);
    Tokens {
        access,
        expires_in: life,
        refresh: Secret::new(format!("{session}.{secret}")),
        session,
    }
}

/// Exchanges a refresh token (SE-2).
///
/// # Errors
/// [`SessionError::RefreshToken`] when it is not good, or was used before, which ends its session.
pub async fn refresh(
    app: &App,
    caller: &Caller,
    presented: &str,
) -> Result<(Tokens, Position), SessionError> {
    admit(app, caller)?;
    let invalid = || SessionError::RefreshToken(RefreshRefusal::Invalid);
    let Some((session, presented_hash)) = read_refresh_token(presented) else {
        token_refused(app, caller, TokenKind::Refresh, None).await?;
        return Err(invalid());
    };
    let next = OpaqueToken::generate(OpaqueKind::Refresh).map_err(|error| unavailable(&error))?;
    let command = RefreshSession {
        session,
        presented_hash,
        next_hash: next.hash,
    };
    // Whoever presents the token acts for the session's owner: address and device are the owner's data.
    let mut caller = caller.clone();
    let owner = folded::<Session>(app, session).await?.user;
    caller.meta.on_behalf_of = owner.map(|owner| format!("user:{owner}"));
    match app.execute(&caller, &command).await {
        Ok(position) => {
            app.directory
                .wait_for_position(position, crate::app::TIMEOUT)
                .await
                .map_err(|error| unavailable(&error))?;
            // What is recorded is answered, also when the session has been ended since: its tokens are good for nothing
            // then, and whoever presented the token learns that it was the one that counted.
            let user = owner.ok_or_else(invalid)?;
            Ok((tokens(app, user, session, next.secret.expose()), position))
        }
        Err(ExecuteError::Refused(reason)) => {
            // A used one has ended its session, on record; all others are noted here.
            if reason != RefreshRefusal::Reused {
                token_refused(app, &caller, TokenKind::Refresh, owner).await?;
            }
            Err(reason.into())
        }
        Err(error) => Err(not_executed(&error)),
    }
}

/// Takes a refresh token apart: whose session, and its hash.
fn read_refresh_token(presented: &str) -> Option<(SessionId, String)> {
    let (session, secret) = presented.trim().split_once('.')?;
    Some((
        session.parse().ok()?,
        OpaqueToken::hash(OpaqueKind::Refresh, secret)?,
    ))
}
