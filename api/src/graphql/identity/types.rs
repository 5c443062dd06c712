//! What clients send about accounts and sessions, and what they get back.

use async_graphql::{ComplexObject, ID, InputObject, SimpleObject};
use domain::event_store::Position;
use uuid::Uuid;

use crate::{
    graphql::{
        mutation::{NoEntity, Payload, payload},
        scalars::Long,
        types::User,
        user_error::UserError,
    },
    sessions::Tokens,
};

pub(super) type Errors = Vec<UserError>;

/// A new account.
#[derive(InputObject)]
pub struct AccountInput {
    /// 3 to 32 of a-z, 0-9, dot, underscore and hyphen; unique, case-insensitive.
    pub username: String,
    /// Unique, case-insensitive; must be verified.
    pub email: String,
    /// 10 to 256 characters; not a common password, not containing the username.
    #[graphql(secret)]
    pub password: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Company; its organization is created if needed.
    pub company: Option<String>,
    /// Division.
    pub division: Option<String>,
    /// Department.
    pub department: Option<String>,
}

/// A new account of one's own.
#[derive(InputObject)]
pub struct RegisterInput {
    /// The account.
    #[graphql(flatten)]
    pub account: AccountInput,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// The first administrator.
#[derive(InputObject)]
pub struct CreateFirstAdministratorInput {
    /// The token that `anneal up` prints at its first start.
    #[graphql(secret)]
    pub setup_token: String,
    /// The account.
    pub account: AccountInput,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `register`, `createFirstAdministrator` and `setUserActive`.
    AccountPayload {
        /// The account; null on error, or if the caller may not read it.
        user: User
    }
}

/// The token from the verification mail.
#[derive(InputObject)]
pub struct VerifyEmailInput {
    /// The token.
    #[graphql(secret)]
    pub token: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// Name and password.
#[derive(InputObject)]
pub struct LoginInput {
    /// Username or e-mail address.
    pub login: String,
    /// Password.
    #[graphql(secret)]
    pub password: String,
    /// Client name, shown in the list of sessions.
    pub device: Option<String>,
}

/// A refresh token.
#[derive(InputObject)]
pub struct RefreshInput {
    /// The token; it works once.
    #[graphql(secret)]
    pub refresh_token: String,
}

/// Payload of `login` and `refresh`.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct SessionPayload {
    #[graphql(skip)]
    pub(super) tokens: Option<Tokens>,
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Errors,
}

#[ComplexObject]
impl SessionPayload {
    /// Short-lived token: send it as `Authorization: Bearer …`.
    async fn access_token(&self) -> Option<&str> {
        self.tokens.as_ref().map(|tokens| tokens.access.expose())
    }
    /// Seconds until the access token expires.
    async fn expires_in(&self) -> Option<i32> {
        self.tokens
            .as_ref()
            .map(|tokens| i32::try_from(tokens.expires_in.as_secs()).unwrap_or(i32::MAX))
    }
    /// Single-use token for `refresh`; keep it secret.
    async fn refresh_token(&self) -> Option<&str> {
        self.tokens.as_ref().map(|tokens| tokens.refresh.expose())
    }
    /// ID of the session.
    async fn session_id(&self) -> Option<ID> {
        self.tokens
            .as_ref()
            .map(|tokens| tokens.session.to_string().into())
    }
}

/// Payload of mutations that return no object.
#[derive(SimpleObject)]
pub struct IdentityPayload {
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Errors,
}

/// The session to end.
#[derive(Default, InputObject)]
pub struct LogoutInput {
    /// One of the caller's sessions; that of this request if omitted.
    pub session_id: Option<ID>,
}

impl Payload for IdentityPayload {
    type Entity = NoEntity;
    /// No field.
    const SHOWN: &'static str = "";

    fn of(_: Option<NoEntity>, position: Option<Position>, user_errors: Errors) -> Self {
        Self {
            position: position.map(Into::into),
            user_errors,
        }
    }
}

/// A session of the caller.
#[derive(InputObject)]
pub struct RevokeSessionInput {
    /// The session.
    pub session_id: ID,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// Disables or enables an account.
#[derive(InputObject)]
pub struct SetUserActiveInput {
    /// The account.
    pub user_id: ID,
    /// Whether the account is enabled.
    pub active: bool,
    /// Reason; recorded in the log.
    pub reason: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}
