//! Accounts and sessions.

mod account;
mod erasure;
mod queries;
mod types;

use account::{new_account, optional_text, refused};
use async_graphql::{Context, Object, Result};
use domain::{
    id::{SessionId, UserId},
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        registration::{CreateFirstAdministrator, Register, RegisterRefusal},
        session::EndSession,
        user::VerifyEmail,
    },
};
use projections::{history::AsOf, identity::user::Users, read_model, read_model::Viewer};

pub use super::types::{Session, User};
pub use erasure::{ErasePersonInput, ErasureMutation, ErasureQuery};
pub use queries::IdentityQuery;
pub use types::*;

use super::{
    context::{Outcome, app, caller, run, user, wait_for_position},
    errors::{error_with_code, read_failed},
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
    let everything = Viewer::everything(app(context)?.now());
    let row = read_model::find::<Users>(&app(context)?.pool, &everything, AsOf::Now, user.0)
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
        Err(other) => return Err(error_with_code(other.code(), other.to_string())),
    };
    Ok(no_session(vec![user_error]))
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
        sessions::admit(app(context)?, caller(context)?)
            .map_err(|error| error_with_code(error.code(), error.to_string()))?;
        if !sessions::setup_token_matches(app(context)?, &input.setup_token) {
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

    /// Registers an account. A verification token is sent to its address.
    async fn register(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account.")] input: RegisterInput,
    ) -> Result<AccountPayload> {
        sessions::admit(app(context)?, caller(context)?)
            .map_err(|error| error_with_code(error.code(), error.to_string()))?;
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
            sessions::verification_token(user).map_err(|e| error_with_code(e.code(), e.to_string()))?;
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
            sessions::mail_verification(app, user, &email, &token).await;
        }
        account_payload(context, user, outcome).await
    }

    /// Verifies an e-mail address with the token that was sent to it.
    async fn verify_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The token.")] input: VerifyEmailInput,
    ) -> Result<IdentityPayload> {
        sessions::admit(app(context)?, caller(context)?)
            .map_err(|error| error_with_code(error.code(), error.to_string()))?;
        let refuse = |message: String, code| {
            Ok(IdentityPayload {
                position: None,
                user_errors: vec![UserError::at("token", message, code)],
            })
        };
        let Some((user, token_hash)) = sessions::read_verification_token(&input.token) else {
            return refuse(
                "this is not a verification token".to_owned(),
                UserErrorCode::InvalidToken,
            );
        };
        match run(context, &VerifyEmail { user, token_hash }).await? {
            Outcome::Done(position) => {
                wait_for_position(context, position).await?;
                Ok(IdentityPayload {
                    position: Some(position.into()),
                    user_errors: Vec::new(),
                })
            }
            Outcome::Refused(reason @ domain::identity::user::VerifyRefusal::Expired) => {
                refuse(reason.to_string(), UserErrorCode::TokenExpired)
            }
            Outcome::Refused(reason) => refuse(reason.to_string(), UserErrorCode::InvalidToken),
            Outcome::NotFound => Err(error_with_code("NOT_FOUND", "not found")),
        }
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

    /// Ends the session of this request, or another of the caller's.
    async fn logout(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The session.", default)] input: LogoutInput,
    ) -> Result<IdentityPayload> {
        let own = user(context)?.session;
        let session = match input.session_id {
            Some(id) => id.parse().ok(),
            None => Some(own.ok_or_else(|| error_with_code("UNAUTHENTICATED", "there is no session"))?),
        };
        match session {
            Some(session) => end(context, session, "logout").await,
            None => Ok(no_such_session()),
        }
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
        Outcome::NotFound => Ok(no_such_session()),
    }
}

fn no_such_session() -> IdentityPayload {
    let user_error = UserError::at("sessionId", "there is no such session", UserErrorCode::NotFound);
    IdentityPayload {
        position: None,
        user_errors: vec![user_error],
    }
}
