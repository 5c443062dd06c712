//! Accounts and sessions as clients see them, and what they send.

use async_graphql::{ComplexObject, Context, ID, InputObject, Object, Result, SimpleObject};
use domain::identity::badge;
use projections::identity::{session::SessionRow, user::UserRow};
use time::OffsetDateTime;

use crate::{
    graphql::{
        access::{RoleAssignment, roles_of},
        as_of::{AsOf, view},
        scalars::Long,
        user_error::UserError,
    },
    sessions::Tokens,
};

pub(super) type Errors = Vec<UserError>;

/// An account.
pub struct User(pub UserRow);

/// A person or program that can act in the system.
#[Object]
impl User {
    /// Global id.
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
    /// One or two letters for a badge.
    async fn initials(&self) -> String {
        badge::initials(
            self.0.first_name.as_deref(),
            self.0.last_name.as_deref(),
            &self.0.email,
        )
    }
    /// Colour of the badge; always the same for the same person.
    async fn badge_color(&self) -> &str {
        badge::color(&self.0.email)
    }
    /// Organisation, by id.
    async fn organization_id(&self) -> Option<ID> {
        self.0.organization_id.map(|id| id.to_string().into())
    }
    /// Department inside of it.
    async fn department(&self) -> Option<&str> {
        self.0.department.as_deref()
    }
    /// Whether the address is proven; until then the account sees only its own profile.
    async fn verified(&self) -> bool {
        self.0.verified
    }
    /// Whether the account is switched off.
    async fn deactivated(&self) -> bool {
        self.0.deactivated
    }
    /// When it registered.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// The roles it holds.
    async fn roles(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
    ) -> Result<Vec<RoleAssignment>> {
        roles_of(context, self.0.id, view(context, as_of).await?).await
    }
}

/// A login and all refreshes that descend from it.
pub struct Session(pub SessionRow, pub bool);

/// One login, until it ends.
#[Object]
impl Session {
    /// Global id.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// What the client calls itself.
    async fn device(&self) -> Option<&str> {
        self.0.device.as_deref()
    }
    /// Address that the login came from.
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
    /// When it ends by itself.
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
pub struct RegisterInput {
    /// 3 to 32 of a-z, 0-9, dot, underscore and hyphen; unique without regard to case.
    pub username: String,
    /// Unique without regard to case; has to be verified.
    pub email: String,
    /// 10 to 256 characters; not a common password, not containing the username.
    #[graphql(secret)]
    pub password: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Company; its organisation is found or created.
    pub company: Option<String>,
    /// Division of the company.
    pub division: Option<String>,
    /// Department inside of it.
    pub department: Option<String>,
}

/// The first administrator.
#[derive(InputObject)]
pub struct CreateFirstAdministratorInput {
    /// The token that `anneal up` prints at its first start.
    #[graphql(secret)]
    pub setup_token: String,
    /// The account.
    pub account: RegisterInput,
}

/// What came of a registration.
#[derive(SimpleObject)]
pub struct AccountPayload {
    /// The account; null when there is none.
    pub user: Option<User>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Errors,
}

/// The token from the verification mail.
#[derive(InputObject)]
pub struct VerifyEmailInput {
    /// The token.
    #[graphql(secret)]
    pub token: String,
}

/// Name and password.
#[derive(InputObject)]
pub struct LoginInput {
    /// Username or e-mail address.
    pub login: String,
    /// Password.
    #[graphql(secret)]
    pub password: String,
    /// What the client calls itself, shown in the list of sessions.
    pub device: Option<String>,
}

/// A refresh token.
#[derive(InputObject)]
pub struct RefreshInput {
    /// The token; it works once.
    #[graphql(secret)]
    pub refresh_token: String,
}

/// What came of a login or a refresh.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct SessionPayload {
    #[graphql(skip)]
    pub(super) tokens: Option<Tokens>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Errors,
}

#[ComplexObject]
impl SessionPayload {
    /// Short-lived token: send it as `Authorization: Bearer …`.
    async fn access_token(&self) -> Option<&str> {
        self.tokens.as_ref().map(|tokens| tokens.access.expose())
    }
    /// Seconds until the access token runs out.
    async fn expires_in(&self) -> Option<i32> {
        self.tokens
            .as_ref()
            .map(|tokens| i32::try_from(tokens.expires_in.as_secs()).unwrap_or(i32::MAX))
    }
    /// Exchange it once by `refresh` for new tokens; keep it secret.
    async fn refresh_token(&self) -> Option<&str> {
        self.tokens.as_ref().map(|tokens| tokens.refresh.expose())
    }
    /// The session, by id.
    async fn session_id(&self) -> Option<ID> {
        self.tokens
            .as_ref()
            .map(|tokens| tokens.session.to_string().into())
    }
}

/// What came of a change without a result of its own.
#[derive(SimpleObject)]
pub struct IdentityPayload {
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Errors,
}

/// A session of one's own.
#[derive(InputObject)]
pub struct RevokeSessionInput {
    /// The session.
    pub session_id: ID,
}

/// Switches an account off or on.
#[derive(InputObject)]
pub struct SetUserActiveInput {
    /// The account.
    pub user_id: ID,
    /// On or off.
    pub active: bool,
    /// Why; recorded.
    pub reason: String,
}
