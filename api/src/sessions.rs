//! How sessions begin and go on: passwords, tokens, and what slows guessing down.

use std::time::Duration;

use domain::{
    aggregate::{Aggregate, decode, load},
    event_store::{Position, StoreError},
    execute::ExecuteError,
    id::{SessionId, UserId},
    identity::{
        login::RecordFailedLogin,
        reservation::{Reservation, ReservationEvent, ReservationKey},
        session::{OpenSession, RefreshRefusal, RefreshSession, Session},
        user::User,
    },
};

use crate::{
    app::{App, Caller, Mail, for_clients},
    auth::{
        password::{HashingPoolError, Password, Verdict},
        secret::Secret,
        token::{OpaqueKind, OpaqueToken},
    },
    rate::{AddressKey, GuessKey},
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
    ReservationKey(app.pepper.keyed_hash(scope, normalised))
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

/// Whether `presented` is the set-up token.
#[must_use]
pub fn setup_token_matches(app: &App, presented: &str) -> bool {
    app.settings
        .setup_token
        .as_ref()
        .is_some_and(|token| crate::auth::secret::same(token.expose(), presented.trim()))
}

/// A fresh verification token for `user`, and its hash.
///
/// # Errors
/// When the machine gives no randomness.
pub fn verification_token(user: UserId) -> Result<(Secret, String), SessionError> {
    let token = OpaqueToken::generate(OpaqueKind::Verification).map_err(|error| unavailable(&error))?;
    Ok((
        Secret::new(format!("{user}.{}", token.secret.expose())),
        token.hash,
    ))
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

/// Sends a verification token. A mail that is not handed over does not undo the registration; the log says
/// that it failed, and the operator can look into it.
pub async fn mail_verification(app: &App, user: UserId, email: &str, token: &Secret) {
    let body = format!(
        "Welcome to Anneal.\n\nYour verification token, good for 24 hours:\n\n    {}\n\n\
         Give it to the mutation verifyEmail.",
        token.expose()
    );
    let mail = Mail {
        person: user,
        to: email.to_owned(),
        subject: "Verify your e-mail address".to_owned(),
        body,
    };
    if let Err(error) = app.mailer.send(mail).await {
        tracing::error!(%error, "a verification mail was not sent");
    }
}

/// A login as typed.
pub struct Attempt {
    /// Username or e-mail address.
    pub login: String,
    /// Password.
    pub password: String,
    /// What the client calls itself, checked.
    pub device: Option<String>,
}

/// The account that a typed name means, and its verifier; read from the log itself, so always current.
async fn account(app: &App, login: &str) -> Result<Option<(UserId, User)>, SessionError> {
    for scope in ["username", "email"] {
        let stream = Reservation::stream(reservation_key(app, scope, login));
        let events = app
            .ports
            .store
            .load(&stream, 0)
            .await
            .map_err(|error| unavailable(&error))?;
        let Some(event) = events.last() else { continue };
        let ReservationEvent::Taken { user, .. } = decode(event).map_err(|error| unavailable(&error))? else {
            continue;
        };
        return Ok(Some((user, folded(app, user).await?)));
    }
    Ok(None)
}

/// Checks name and password and opens a session (SE-1, SE-5).
///
/// # Errors
/// [`SessionError::Refused`] with the same words whether the name, the password or the number of tries was
/// wrong.
pub async fn login(app: &App, caller: &Caller, attempt: Attempt) -> Result<(Tokens, Position), SessionError> {
    admit(app, caller)?;
    let typed = attempt.login.trim().to_lowercase();
    if typed.is_empty() || typed.len() > 254 {
        return Err(SessionError::Refused(
            domain::identity::login::LoginRefused.to_string(),
        ));
    }
    let found = account(app, &typed).await?;
    let name = match &found {
        Some((user, _)) => reservation_key(app, "login", &user.to_string()),
        None => reservation_key(app, "login", &typed),
    };
    let user = found.as_ref().map(|(user, _)| *user);
    let address = caller
        .address
        .unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let Ok(permit) = app.lockout.reserve(&GuessKey::new(&name.0, address), app.now()) else {
        return Err(failed(app, caller, name, user, "locked").await);
    };
    let verifier = found.as_ref().and_then(|(_, state)| state.password.clone());
    let verdict = match Password::new(attempt.password.clone()) {
        Ok(password) => app.hashing_pool.verify(password, verifier.as_deref()).await,
        Err(_) => Ok(Verdict::Mismatch),
    };
    let (needs_rehash, user, state, proven) = match (verdict, found, verifier) {
        (Ok(Verdict::Match { needs_rehash }), Some((user, state)), Some(proven)) => {
            (needs_rehash, user, state, proven)
        }
        (Ok(_), _, _) => {
            permit.failure(app.now());
            return Err(failed(app, caller, name, user, "wrong_credentials").await);
        }
        (Err(error), _, _) => {
            permit.release(app.now());
            return Err(error.into());
        }
    };
    if state.deactivated {
        permit.failure(app.now());
        return Err(failed(app, caller, name, Some(user), "deactivated").await);
    }
    permit.success(app.now());
    let rehashed = match needs_rehash {
        true => Some(hash(app, attempt.password).await?),
        false => None,
    };
    open(app, caller, user, Proof { proven, rehashed }, attempt.device).await
}

/// The verifier that a password was proven against, and a stronger one if it is time (SE-4).
struct Proof {
    proven: String,
    rehashed: Option<String>,
}

async fn failed(
    app: &App,
    caller: &Caller,
    name: ReservationKey,
    user: Option<UserId>,
    cause: &'static str,
) -> SessionError {
    match app
        .execute(caller, &RecordFailedLogin { name, user, cause })
        .await
    {
        Err(ExecuteError::Refused(reason)) => SessionError::Refused(reason.to_string()),
        Ok(_) => SessionError::Refused(domain::identity::login::LoginRefused.to_string()),
        Err(error) => not_executed(&error),
    }
}

async fn open(
    app: &App,
    caller: &Caller,
    user: UserId,
    proof: Proof,
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
    let (session, secret) = presented.trim().split_once('.').ok_or_else(invalid)?;
    let session: SessionId = session.parse().map_err(|_| invalid())?;
    let presented_hash = OpaqueToken::hash(OpaqueKind::Refresh, secret).ok_or_else(invalid)?;
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
        Err(ExecuteError::Refused(reason)) => Err(reason.into()),
        Err(error) => Err(not_executed(&error)),
    }
}
