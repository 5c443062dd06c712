//! Logging in with name and password (SE-1, SE-5).
//!
//! One rule: who has no right password learns nothing of accounts. Whatever was typed costs the same: the same look-ups,
//! one hash with parameters that are in use, and one record; also while a lock lasts, and for names that nobody has.
//! Whether something is recorded or only counted depends on what was typed alone.

use std::net::{IpAddr, Ipv4Addr};

use domain::{
    aggregate::{Aggregate, decode},
    bounded::Kind,
    event_store::Position,
    execute::ExecuteError,
    id::UserId,
    identity::{
        login::{LoginRefused, RecordFailedLogin},
        reservation::{Reservation, ReservationEvent, ReservationKey},
        user::User,
    },
};
use time::OffsetDateTime;

use super::{SessionError, Tokens, admit, folded, hash, not_executed, open, reservation_key, unavailable};
use crate::{
    app::{App, Caller},
    auth::password::{Password, Verdict},
    rate::{AddressKey, GuessKey, Permit, Tally},
};

/// A login as typed.
pub struct Attempt {
    /// Username or e-mail address.
    pub login: String,
    /// Password.
    pub password: String,
    /// What the client calls itself, checked.
    pub device: Option<String>,
}

/// The verifier that a password was proven against, and a stronger one if it is time (SE-4).
pub(super) struct Proof {
    /// The verifier.
    pub(super) proven: String,
    /// The stronger one.
    pub(super) rehashed: Option<String>,
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
        return Err(SessionError::Refused(LoginRefused.to_string()));
    }
    let found = account(app, &typed).await?;
    let guess = Guess::take(app, caller, &typed, found.as_ref().map(|(user, _)| *user));
    let verifier = found.as_ref().and_then(|(_, state)| state.password.clone());
    let verdict = match check(app, &attempt.password, verifier.as_deref(), &typed).await {
        Ok(verdict) => verdict,
        Err(error) => {
            guess.give_back(app.now());
            return Err(error);
        }
    };
    let (needs_rehash, user, proven) = match (verdict, found, verifier) {
        (Verdict::Match { needs_rehash }, Some((user, state)), Some(proven))
            if guess.is_open() && !state.deactivated =>
        {
            (needs_rehash, user, proven)
        }
        (verdict, found, _) => {
            let deactivated = matches!(verdict, Verdict::Match { .. }) && guess.is_open();
            let cause = match (guess.is_open(), deactivated) {
                (false, _) => "locked",
                (true, true) => "deactivated",
                (true, false) => "wrong_credentials",
            };
            return Err(failed(app, caller, guess, found.map(|(user, _)| user), cause).await);
        }
    };
    guess.was_right(app.now());
    let rehashed = match needs_rehash {
        true => Some(hash(app, attempt.password).await?),
        false => None,
    };
    open(app, caller, user, Proof { proven, rehashed }, attempt.device).await
}

/// The account that a typed name means; read from the log itself, so always current. An address means the account that
/// has proven it. Both reservations and one account are read whatever there is.
async fn account(app: &App, typed: &str) -> Result<Option<(UserId, User)>, SessionError> {
    let by_username = holder(app, "username", typed).await?;
    let by_email = holder(app, "email", typed).await?;
    let user = by_username.or(by_email);
    let state = folded::<User>(app, user.unwrap_or(UserId(uuid::Uuid::nil()))).await?;
    let known = user.filter(|_| by_username.is_some() || state.verified);
    Ok(known.map(|user| (user, state)))
}

/// Who holds a name.
async fn holder(app: &App, scope: &str, typed: &str) -> Result<Option<UserId>, SessionError> {
    let stream = Reservation::stream(reservation_key(app, scope, typed));
    let events = app.ports.store.load(&stream, 0).await;
    let events = events.map_err(|error| unavailable(&error))?;
    match events.last().map(decode).transpose() {
        Ok(Some(ReservationEvent::Taken { user, .. })) => Ok(Some(user)),
        Ok(_) => Ok(None),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Hashes the password once, whatever there is to compare it with.
async fn check(
    app: &App,
    password: &str,
    verifier: Option<&str>,
    typed: &str,
) -> Result<Verdict, SessionError> {
    let Ok(password) = Password::new(password.to_owned()) else {
        return Ok(Verdict::Mismatch);
    };
    let verdict = match verifier {
        Some(verifier) => app.hashing_pool.verify(password, Some(verifier)).await,
        None => {
            // An unknown name costs always the same, and unknown names together cost what accounts cost together.
            let key = app.pepper.keyed_hash("stand-in", typed);
            let pick = key.bytes().fold(0_u64, |pick, byte| {
                pick.wrapping_mul(257).wrapping_add(byte.into())
            });
            let parameters = app.directory.password_parameters(pick);
            app.hashing_pool
                .verify_in_vain(password, parameters.as_deref())
                .await
        }
    };
    Ok(verdict?)
}

/// A guess, counted before it is checked: against what was typed, and against the account that it means. Names that mean
/// no account are counted twice all the same.
struct Guess {
    typed: ReservationKey,
    name: ReservationKey,
    address: AddressKey,
    of_typed: Option<Permit>,
    of_account: Option<Permit>,
}

impl Guess {
    fn take(app: &App, caller: &Caller, typed: &str, user: Option<UserId>) -> Self {
        let address = caller.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let account = user.map_or_else(|| typed.to_owned(), |user| user.to_string());
        let name = reservation_key(app, "login", &account);
        let (typed, now) = (reservation_key(app, "typed login", typed), app.now());
        let reserve = |key: &ReservationKey| app.lockout.reserve(&GuessKey::new(&key.0, address), now).ok();
        Self {
            of_typed: reserve(&typed),
            of_account: reserve(&name),
            typed,
            name,
            address: address.into(),
        }
    }

    /// Whether no lock lasts.
    fn is_open(&self) -> bool {
        self.of_typed.is_some() && self.of_account.is_some()
    }

    fn was_right(self, now: OffsetDateTime) {
        for permit in [self.of_typed, self.of_account].into_iter().flatten() {
            permit.success(now);
        }
    }

    fn give_back(self, now: OffsetDateTime) {
        for permit in [self.of_typed, self.of_account].into_iter().flatten() {
            permit.release(now);
        }
    }
}

/// Counts and records a failed attempt. While what was typed is locked, further attempts from that address are counted.
async fn failed(
    app: &App,
    caller: &Caller,
    guess: Guess,
    user: Option<UserId>,
    cause: &'static str,
) -> SessionError {
    let now = app.now();
    let refused = || SessionError::Refused(LoginRefused.to_string());
    let claimed = match &guess.of_typed {
        Some(_) => None,
        None => {
            let address = guess.address.to_string();
            let claimed = app
                .ports
                .bounded
                .claim(Kind::Locked, &address, &guess.typed.0, now);
            let Some(claimed) = claimed else {
                if let Some(of_account) = guess.of_account {
                    of_account.release(now);
                }
                return refused();
            };
            Some(claimed)
        }
    };
    let command = RecordFailedLogin {
        name: guess.name,
        user,
        cause,
        locked_until: settle(guess.of_typed, guess.of_account, now),
        left_out: claimed.as_ref().and_then(domain::bounded::Claimed::before),
    };
    match app.execute(caller, &command).await {
        Err(ExecuteError::Refused(_)) | Ok(_) => {
            if let Some(claimed) = claimed {
                claimed.done();
            }
            refused()
        }
        Err(error) => not_executed(&error),
    }
}

/// Counts a wrong guess; until when it has locked the name, if it has. What was typed while it is locked does not count
/// against the account.
fn settle(
    of_typed: Option<Permit>,
    of_account: Option<Permit>,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let of_typed = of_typed.map(|permit| permit.failure(now));
    let of_account = of_account.map(|permit| match of_typed {
        Some(_) => permit.failure(now),
        None => {
            permit.release(now);
            Tally::Left(0)
        }
    });
    let ends = [of_typed, of_account]
        .into_iter()
        .flatten()
        .filter_map(|tally| match tally {
            Tally::Locked { until } => Some(until),
            Tally::Left(_) => None,
        });
    ends.max()
}
