//! Accounts and sessions.

mod account;
mod erasure;
mod queries;
mod types;

use account::{admit, failed, optional_text};
use async_graphql::{Context, Object, Result};
use domain::{
    id::SessionId,
    identity::{
        account_status::{AccountRefusal, SetUserActive},
        session::{EndRefusal, EndSession},
        user::VerifyRefusal,
    },
};

pub use super::types::{Session, User};
pub use erasure::{ErasePersonInput, ErasePersonPayload, ErasureMutation, ErasureQuery};
pub use queries::IdentityQuery;
pub use types::*;

use super::{
    context::{app, caller, user},
    errors::error_with_code,
    mutation::MutationCall,
    user_error::{Problem, UserError, UserErrorCode, UserErrors},
};
use crate::sessions::{self, SessionError, Tokens};

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
    ) -> Result<Option<AccountPayload>> {
        admit(context)?;
        account::create_first_administrator(MutationCall::open(context, &input)?, input).await
    }

    /// Registers an account. A verification token is sent to its address; if another account has the address, a mail
    /// that somebody tried, and the response is the same.
    async fn register(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account.")] input: RegisterInput,
    ) -> Result<Option<AccountPayload>> {
        admit(context)?;
        account::register(MutationCall::open(context, &input)?, input.account).await
    }

    /// Verifies an e-mail address with the token that was sent to it.
    async fn verify_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The token.")] input: VerifyEmailInput,
    ) -> Result<Option<IdentityPayload>> {
        admit(context)?;
        account::verify_email(MutationCall::open(context, &input)?, &input.token).await
    }

    /// Logs in. The response does not reveal whether the account exists.
    async fn login(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Name and password.")] input: LoginInput,
    ) -> Result<Option<SessionPayload>> {
        let mut errors = Errors::new();
        let device = optional_text("device", input.device.as_ref(), &mut errors);
        if !errors.is_empty() {
            return Ok(Some(no_session(errors)));
        }
        let (login, password) = (input.login, input.password);
        let attempt = sessions::Attempt {
            login,
            password,
            device,
        };
        session_payload(sessions::login(app(context)?, caller(context)?, attempt).await).map(Some)
    }

    /// Exchanges a refresh token for new tokens. Reusing a token ends its session.
    async fn refresh(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The refresh token.")] input: RefreshInput,
    ) -> Result<Option<SessionPayload>> {
        session_payload(sessions::refresh(app(context)?, caller(context)?, &input.refresh_token).await)
            .map(Some)
    }

    /// Ends the session of this request, or another of the caller's.
    async fn logout(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The session.", default)] input: LogoutInput,
    ) -> Result<Option<IdentityPayload>> {
        let none = || error_with_code("UNAUTHENTICATED", "there is no session");
        let own = user(context)?.session.ok_or_else(none)?;
        let (mut call, cause) = (MutationCall::plain(context)?, "logout");
        let session = input.session_id.map_or(own, |id| call.id("sessionId", &id));
        call.finish(session.0, &EndSession { session, cause }).await
    }

    /// Ends one of the caller's sessions.
    async fn revoke_session(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The session.")] input: RevokeSessionInput,
    ) -> Result<Option<IdentityPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let session: SessionId = call.id("sessionId", &input.session_id);
        let cause = "revoked";
        call.finish(session.0, &EndSession { session, cause }).await
    }

    /// Disables an account, which ends all its sessions immediately, or enables it again. Requires `users.update`.
    async fn set_user_active(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account, whether it is enabled, and the reason.")] input: SetUserActiveInput,
    ) -> Result<Option<AccountPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let user = call.id("userId", &input.user_id);
        let (active, reason) = (input.active, input.reason);
        let command = SetUserActive { user, active, reason };
        call.finish(user, &command).await
    }
}

impl Problem for AccountRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::OwnAccount => ("userId", UserErrorCode::OwnAccount),
            Self::LastAdministrator => ("userId", UserErrorCode::LastAdministrator),
            Self::Erased => ("userId", UserErrorCode::Erased),
            Self::ReasonMissing | Self::Reason(_) => ("reason", UserErrorCode::Invalid),
        }
    }
}

impl Problem for VerifyRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        let code = match self {
            Self::Expired => UserErrorCode::TokenExpired,
            Self::InvalidToken => UserErrorCode::InvalidToken,
        };
        ("token", code)
    }
}

impl UserErrors for EndRefusal {
    fn user_errors(self) -> Vec<UserError> {
        match self {}
    }
}
