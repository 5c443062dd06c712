//! Accounts and sessions.

mod account;
mod erasure;
mod types;

use account::{new_account, optional_text, refused};
use async_graphql::{Context, Error, Object, Result};
use domain::{
    authz::Action,
    id::{SessionId, UserId},
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        registration::{CreateFirstAdministrator, Register, RegisterRefusal},
        session::EndSession,
        tokens::TokenKind,
        user::{VerifyEmail, VerifyRefusal},
    },
};

pub use erasure::{ErasePersonInput, ErasureMutation, ErasureQuery};
pub use types::*;

use super::{
    context::{Outcome, app, caller, honor_min_position, require, run, user, wait_for_position},
    errors::{error_with_code, read_failed},
    paging::{connect, page},
    scalars::Long,
    user_error::{UserError, UserErrorCode},
};
use crate::sessions::{self, SessionError, Tokens};

async fn account_payload(
    context: &Context<'_>,
    user: UserId,
    outcome: Outcome<RegisterRefusal>,
) -> Result<AccountPayload> {
    let position = match outcome {
        Outcome::Done(position) => position,
        Outcome::Refused(reason) => {
            return Ok(AccountPayload {
                user: None,
                position: None,
                user_errors: vec![refused(reason)],
            });
        }
        Outcome::NotFound => return Err(error_with_code("NOT_FOUND", "not found")),
    };
    wait_for_position(context, position).await?;
    let row = projections::identity::user::find(&app(context)?.pool, user)
        .await
        .map_err(|e| read_failed(&e))?;
    Ok(AccountPayload {
        user: row.map(User),
        position: Some(position.into()),
        user_errors: Vec::new(),
    })
}

fn session_payload(
    outcome: Result<(Tokens, domain::event_store::Position), SessionError>,
) -> Result<SessionPayload> {
    let user_error = match outcome {
        Ok((tokens, position)) => {
            return Ok(SessionPayload {
                tokens: Some(tokens),
                position: Some(position.into()),
                user_errors: Vec::new(),
            });
        }
        Err(SessionError::Refused(message)) => UserError::whole(message, UserErrorCode::LoginFailed),
        Err(SessionError::RefreshToken(reason)) => {
            UserError::at("refreshToken", reason.to_string(), UserErrorCode::InvalidToken)
        }
        Err(other) => return Err(failed(&other)),
    };
    Ok(no_session(vec![user_error]))
}

/// A failure that is no user error.
fn failed(error: &SessionError) -> Error {
    error_with_code(error.code(), error.to_string())
}

/// The errors of an input that is the field `field` of another; those of the whole stay so.
fn within(field: &str, mut user_errors: Errors) -> Errors {
    let of_fields = user_errors.iter_mut().filter(|error| !error.path.is_empty());
    of_fields.for_each(|error| error.path.insert(0, field.to_owned()));
    user_errors
}

fn no_session(user_errors: Errors) -> SessionPayload {
    SessionPayload {
        tokens: None,
        position: None,
        user_errors,
    }
}

/// Queries about accounts.
#[derive(Default)]
pub struct IdentityQuery;

#[Object]
impl IdentityQuery {
    /// The signed-in account.
    async fn me(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<User> {
        honor_min_position(context, min_position).await?;
        let id = user(context)?.user;
        let row = projections::identity::user::find(&app(context)?.pool, id)
            .await
            .map_err(|e| read_failed(&e))?;
        row.map(User)
            .ok_or_else(|| error_with_code("UNAVAILABLE", "the account is not readable yet, try again"))
    }

    /// The caller's open sessions, newest first; at most 100.
    async fn sessions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Vec<Session>> {
        honor_min_position(context, min_position).await?;
        let (app, user) = (app(context)?, user(context)?);
        let rows = projections::identity::session::open(&app.pool, user.user, app.now()).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let current = Some(row.id) == user.session;
                Session(row, current)
            })
            .collect())
    }

    /// All accounts, newest first. Requires `users.read`.
    #[graphql(complexity = "super::paging::weight(first, child_complexity)")]
    async fn users(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<async_graphql::connection::Connection<String, User>> {
        require(context, Action::UsersRead, "users")?;
        let request = page(first, after.as_deref())?;
        honor_min_position(context, min_position).await?;
        let rows = projections::identity::user::list(&app(context)?.pool, &request)
            .await
            .map_err(|e| read_failed(&e))?;
        Ok(connect(rows, after.as_deref(), |row| {
            (row.id.0.to_string(), User(row))
        }))
    }
}

/// Changes of accounts and sessions.
#[derive(Default)]
pub struct IdentityMutation;

#[Object]
impl IdentityMutation {
    /// Creates the first administrator. Works once, with the set-up token.
    async fn create_first_administrator(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Token and account.")] input: CreateFirstAdministratorInput,
    ) -> Result<AccountPayload> {
        sessions::admit(app(context)?, caller(context)?).map_err(|error| failed(&error))?;
        let matches =
            sessions::setup_token_matches(app(context)?, caller(context)?, &input.setup_token).await;
        if !matches.map_err(|error| failed(&error))? {
            let user_error = UserError::at(
                "setupToken",
                "this is not the set-up token",
                UserErrorCode::InvalidToken,
            );
            return Ok(AccountPayload {
                user: None,
                position: None,
                user_errors: vec![user_error],
            });
        }
        let account = match new_account(context, input.account).await? {
            Ok(account) => account,
            Err(user_errors) => {
                return Ok(AccountPayload {
                    user: None,
                    position: None,
                    user_errors: within("account", user_errors),
                });
            }
        };
        let user = account.user;
        let outcome = run(context, &CreateFirstAdministrator { account }).await?;
        let mut payload = account_payload(context, user, outcome).await?;
        payload.user_errors = within("account", payload.user_errors);
        Ok(payload)
    }

    /// Registers an account. A verification token is sent to its address; if another account has the address, a mail
    /// that somebody tried, and the response is the same.
    async fn register(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account.")] input: RegisterInput,
    ) -> Result<AccountPayload> {
        sessions::admit(app(context)?, caller(context)?).map_err(|error| failed(&error))?;
        let account = match new_account(context, input).await? {
            Ok(account) => account,
            Err(user_errors) => {
                return Ok(AccountPayload {
                    user: None,
                    position: None,
                    user_errors,
                });
            }
        };
        let app = app(context)?;
        let (user, email) = (account.user, account.email.clone());
        let (token, verification_hash) =
            sessions::verification_token(user).map_err(|error| failed(&error))?;
        let open = app.settings.self_registration;
        let outcome = run(
            context,
            &Register {
                account,
                verification_hash,
                open,
            },
        )
        .await?;
        if matches!(outcome, Outcome::Done(_)) {
            let mailed = sessions::mail_registration(app, user, &email, &token).await;
            mailed.map_err(|error| failed(&error))?;
        }
        account_payload(context, user, outcome).await
    }

    /// Verifies an e-mail address with the token that was sent to it.
    async fn verify_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The token.")] input: VerifyEmailInput,
    ) -> Result<IdentityPayload> {
        sessions::admit(app(context)?, caller(context)?).map_err(|error| failed(&error))?;
        let (named, message, code) = match sessions::read_verification_token(&input.token) {
            None => (
                None,
                "this is not a verification token".to_owned(),
                UserErrorCode::InvalidToken,
            ),
            Some((user, token_hash)) => match run(context, &VerifyEmail { user, token_hash }).await? {
                Outcome::Done(position) => {
                    wait_for_position(context, position).await?;
                    return Ok(IdentityPayload {
                        position: Some(position.into()),
                        user_errors: Vec::new(),
                    });
                }
                Outcome::Refused(reason @ VerifyRefusal::Expired) => {
                    (Some(user), reason.to_string(), UserErrorCode::TokenExpired)
                }
                Outcome::Refused(reason) => (Some(user), reason.to_string(), UserErrorCode::InvalidToken),
                Outcome::NotFound => return Err(error_with_code("NOT_FOUND", "not found")),
            },
        };
        let (app, caller) = (app(context)?, caller(context)?);
        let recorded = sessions::token_refused(app, caller, TokenKind::Verification, named).await;
        recorded.map_err(|error| failed(&error))?;
        Ok(IdentityPayload {
            position: None,
            user_errors: vec![UserError::at("token", message, code)],
        })
    }

    /// Logs in. The response does not reveal whether the account exists.
    async fn login(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Name and password.")] input: LoginInput,
    ) -> Result<SessionPayload> {
        let mut errors = Errors::new();
        let device = optional_text("device", input.device.as_ref(), &mut errors);
        if !errors.is_empty() {
            return Ok(no_session(errors));
        }
        let attempt = sessions::Attempt {
            login: input.login,
            password: input.password,
            device,
        };
        session_payload(sessions::login(app(context)?, caller(context)?, attempt).await)
    }

    /// Exchanges a refresh token for new tokens. Reusing a token ends its session.
    async fn refresh(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The refresh token.")] input: RefreshInput,
    ) -> Result<SessionPayload> {
        session_payload(sessions::refresh(app(context)?, caller(context)?, &input.refresh_token).await)
    }

    /// Ends the session of this request.
    async fn logout(&self, context: &Context<'_>) -> Result<IdentityPayload> {
        let session = user(context)?
            .session
            .ok_or_else(|| error_with_code("UNAUTHENTICATED", "there is no session"))?;
        end(context, session, "logout").await
    }

    /// Ends one of the caller's sessions.
    async fn revoke_session(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The session.")] input: RevokeSessionInput,
    ) -> Result<IdentityPayload> {
        user(context)?;
        match input.session_id.parse::<SessionId>() {
            Ok(session) => end(context, session, "revoked").await,
            Err(error) => {
                let user_error = UserError::at("sessionId", error.to_string(), UserErrorCode::Invalid);
                Ok(IdentityPayload {
                    position: None,
                    user_errors: vec![user_error],
                })
            }
        }
    }

    /// Disables an account, which ends all its sessions immediately, or enables it again. Requires `users.update`.
    async fn set_user_active(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account, whether it is enabled, and the reason.")] input: SetUserActiveInput,
    ) -> Result<AccountPayload> {
        user(context)?;
        let refuse = |path: &str, message: String, code| {
            Ok(AccountPayload {
                user: None,
                position: None,
                user_errors: vec![UserError::at(path, message, code)],
            })
        };
        let id = match input.user_id.parse::<UserId>() {
            Ok(id) => id,
            Err(error) => return refuse("userId", error.to_string(), UserErrorCode::Invalid),
        };
        let command = SetUserActive {
            user: id,
            active: input.active,
            reason: input.reason,
        };
        match run(context, &command).await? {
            Outcome::Done(position) => account_payload(context, id, Outcome::Done(position)).await,
            Outcome::Refused(reason @ AccountRefusal::OwnAccount) => {
                refuse("userId", reason.to_string(), UserErrorCode::OwnAccount)
            }
            Outcome::Refused(reason @ AccountRefusal::LastAdministrator) => {
                refuse("userId", reason.to_string(), UserErrorCode::LastAdministrator)
            }
            Outcome::Refused(reason @ AccountRefusal::Erased) => {
                refuse("userId", reason.to_string(), UserErrorCode::Erased)
            }
            Outcome::Refused(reason) => refuse("reason", reason.to_string(), UserErrorCode::Invalid),
            Outcome::NotFound => refuse(
                "userId",
                "there is no such user".to_owned(),
                UserErrorCode::NotFound,
            ),
        }
    }
}

async fn end(context: &Context<'_>, session: SessionId, cause: &'static str) -> Result<IdentityPayload> {
    match run(context, &EndSession { session, cause }).await? {
        Outcome::Done(position) => {
            wait_for_position(context, position).await?;
            Ok(IdentityPayload {
                position: Some(position.into()),
                user_errors: Vec::new(),
            })
        }
        Outcome::Refused(never) => match never {},
        Outcome::NotFound => {
            let user_error = UserError::at("sessionId", "there is no such session", UserErrorCode::NotFound);
            Ok(IdentityPayload {
                position: None,
                user_errors: vec![user_error],
            })
        }
    }
}
