//! Accounts and sessions as clients see them, and what they send.

use async_graphql::{ComplexObject, Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    access::assignment::Assignments,
    authz::Action,
    event_store::Position,
    expectation::Expectation,
    id::UserId,
    identity::{badge, user::User as Account},
};
use projections::identity::{session::SessionRow, user::UserRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    graphql::{
        access::{RoleAssignment, roles_of},
        as_of::{AsOfInput, resolve_as_of},
        context::{app, require, user},
        errors::read_failed,
        mutation::{Entity, NoEntity, Payload, payload},
        scalars::Long,
        user_error::UserError,
    },
    sessions::Tokens,
};

pub(super) type Errors = Vec<UserError>;

/// An account.
pub struct User(pub UserRow);

/// A user account.
#[Object]
impl User {
    /// Global ID.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Unique name, lower case.
    async fn username(&self) -> &str {
        &self.0.username
    }
    /// E-mail address.
    async fn email(&self) -> &str {
        &self.0.email
    }
    /// First name.
    async fn first_name(&self) -> Option<&str> {
        self.0.first_name.as_deref()
    }
    /// Last name.
    async fn last_name(&self) -> Option<&str> {
        self.0.last_name.as_deref()
    }
    /// Initials for a badge.
    async fn initials(&self) -> String {
        badge::initials(
            self.0.first_name.as_deref(),
            self.0.last_name.as_deref(),
            &self.0.email,
        )
    }
    /// Badge color, stable per user.
    async fn badge_color(&self) -> &str {
        badge::color(&self.0.email)
    }
    /// ID of the organization.
    async fn organization_id(&self) -> Option<ID> {
        self.0.organization_id.map(|id| id.to_string().into())
    }
    /// Department.
    async fn department(&self) -> Option<&str> {
        self.0.department.as_deref()
    }
    /// Whether the e-mail address is verified; until then the account can see only its own profile.
    async fn verified(&self) -> bool {
        self.0.verified
    }
    /// Whether the account is disabled.
    async fn deactivated(&self) -> bool {
        self.0.deactivated
    }
    /// Number of events recorded about the account and its roles: what updates take as `expectedVersion`.
    async fn version(&self) -> i32 {
        self.0.version
    }
    /// When the account was registered.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// Its roles.
    async fn roles(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
    ) -> Result<Vec<RoleAssignment>> {
        roles_of(context, self.0.id, resolve_as_of(context, as_of).await?).await
    }
}

/// A login and all refreshes that descend from it.
pub struct Session(pub SessionRow, pub bool);

/// A login session.
#[Object]
impl Session {
    /// Global ID.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Client name.
    async fn device(&self) -> Option<&str> {
        self.0.device.as_deref()
    }
    /// IP address of the login.
    async fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }
    /// Time of the login.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// Time of the last refresh.
    async fn last_seen_at(&self) -> OffsetDateTime {
        self.0.last_seen_at
    }
    /// When it expires.
    async fn expires_at(&self) -> OffsetDateTime {
        self.0.expires_at
    }
    /// Whether it is the session of this request.
    async fn current(&self) -> bool {
        self.1
    }
}

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

impl Entity for User {
    type Id = UserId;

    fn expectation(id: UserId, version: u64) -> Expectation {
        Expectation::version(version)
            .of::<Account>(id)
            .of::<Assignments>(id)
    }

    /// Whoever has just registered sees the account that came of it.
    async fn load(context: &Context<'_>, id: UserId) -> Result<Option<Self>> {
        let own = user(context).map_or(true, |caller| caller.user == id);
        if !own && require(context, Action::UsersRead, "users").is_err() {
            return Ok(None);
        }
        let row = projections::identity::user::find(&app(context)?.pool, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Self))
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

impl Payload for IdentityPayload {
    type Entity = NoEntity;
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
