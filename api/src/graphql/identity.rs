//! Accounts and sessions.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject, dataloader::DataLoader,
};
use domain::{
    authz::Action,
    id::{SessionId, UserId},
    identity::{
        badge,
        registration::{CreateFirstAdministrator, NewAccount, Register, RegisterRefusal},
        session::EndSession,
        user::{AccountRefusal, SetUserActive, VerifyEmail},
    },
};
use projections::identity::{session::SessionRow, user::UserRow};
use time::OffsetDateTime;

use super::{
    access::RoleAssignment,
    context::{Outcome, app, at_least, caller, coded, reach, require, run, unreadable, user},
    fault::Fault,
    loaders::RolesLoader,
    paging::{connect, page},
    scalars::Long,
};
use crate::{
    auth::policy::{self, FieldProblem},
    sessions::{self, SessionError, Tokens},
};

/// Why an account or session was not made or changed. May grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum IdentityErrorCode {
    /// A field does not have the right form.
    Invalid,
    /// Too short, too long, too common, or containing the username.
    WeakPassword,
    /// Somebody has this username.
    UsernameTaken,
    /// Somebody has this address.
    EmailTaken,
    /// Registration is switched off.
    RegistrationClosed,
    /// The first administrator comes first.
    SetupRequired,
    /// There is an administrator already.
    AlreadySetUp,
    /// The token is wrong or was used.
    InvalidToken,
    /// The token is too old.
    TokenExpired,
    /// Wrong name or password, or too many attempts.
    LoginFailed,
    /// There is no such thing for the caller.
    NotFound,
    /// Nobody can do that to themselves.
    OwnAccount,
}

type Errors = Vec<Fault<IdentityErrorCode>>;

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
    async fn roles(&self, context: &Context<'_>) -> Result<Vec<RoleAssignment>> {
        let loaded = context
            .data::<DataLoader<RolesLoader>>()?
            .load_one(self.0.id)
            .await?;
        Ok(loaded
            .unwrap_or_default()
            .into_iter()
            .map(RoleAssignment)
            .collect())
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
    tokens: Option<Tokens>,
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

fn problem(found: FieldProblem) -> Fault<IdentityErrorCode> {
    let code = if found.path == "password" {
        IdentityErrorCode::WeakPassword
    } else {
        IdentityErrorCode::Invalid
    };
    Fault::of(&found.path, found.message, code)
}

fn refused(reason: RegisterRefusal) -> Fault<IdentityErrorCode> {
    let (path, code) = match reason {
        RegisterRefusal::UsernameTaken => ("username", IdentityErrorCode::UsernameTaken),
        RegisterRefusal::EmailTaken => ("email", IdentityErrorCode::EmailTaken),
        RegisterRefusal::RegistrationClosed => ("", IdentityErrorCode::RegistrationClosed),
        RegisterRefusal::SetupRequired => ("", IdentityErrorCode::SetupRequired),
        RegisterRefusal::AlreadySetUp => ("", IdentityErrorCode::AlreadySetUp),
    };
    match path {
        "" => Fault::whole(reason.to_string(), code),
        path => Fault::of(path, reason.to_string(), code),
    }
}

fn optional_text(path: &'static str, text: Option<&String>, errors: &mut Errors) -> Option<String> {
    let text = text.map(|text| text.trim()).filter(|text| !text.is_empty())?;
    if text.chars().count() > 100 || text.chars().any(char::is_control) {
        let message = "at most 100 characters, none of them control characters";
        errors.push(Fault::of(path, message, IdentityErrorCode::Invalid));
    }
    Some(text.to_owned())
}

/// Checks the form of a new account and hashes its password.
async fn new_account(context: &Context<'_>, input: RegisterInput) -> Result<Result<NewAccount, Errors>> {
    let mut errors: Errors = Vec::new();
    let normalised = policy::registration(&input.username, &input.email, &input.password);
    let first_name = optional_text("firstName", input.first_name.as_ref(), &mut errors);
    let last_name = optional_text("lastName", input.last_name.as_ref(), &mut errors);
    let company = optional_text("company", input.company.as_ref(), &mut errors);
    let division = optional_text("division", input.division.as_ref(), &mut errors);
    let department = optional_text("department", input.department.as_ref(), &mut errors);
    let normalised = match normalised {
        Ok(normalised) if errors.is_empty() => normalised,
        Ok(_) => return Ok(Err(errors)),
        Err(found) => {
            errors.extend(found.into_iter().map(problem));
            return Ok(Err(errors));
        }
    };
    let app = app(context)?;
    let password = sessions::hash(app, input.password)
        .await
        .map_err(|error| coded(error.code(), error.to_string()))?;
    Ok(Ok(NewAccount {
        user: UserId(app.ports.ids.next()),
        username_claim: sessions::claim(app, "username", &normalised.username),
        email_claim: sessions::claim(app, "email", &normalised.email),
        username: normalised.username,
        email: input.email.trim().to_owned(),
        password,
        first_name,
        last_name,
        company,
        division,
        department,
    }))
}

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
        Outcome::NotFound => return Err(coded("NOT_FOUND", "not found")),
    };
    reach(context, position).await?;
    let row = projections::identity::user::find(&app(context)?.pool, user)
        .await
        .map_err(|e| unreadable(&e))?;
    Ok(AccountPayload {
        user: row.map(User),
        position: Some(position.into()),
        user_errors: Vec::new(),
    })
}

fn session_payload(
    outcome: Result<(Tokens, domain::event_store::Position), SessionError>,
) -> Result<SessionPayload> {
    match outcome {
        Ok((tokens, position)) => Ok(SessionPayload {
            tokens: Some(tokens),
            position: Some(position.into()),
            user_errors: Vec::new(),
        }),
        Err(SessionError::Refused(message)) => Ok(SessionPayload {
            tokens: None,
            position: None,
            user_errors: vec![Fault::whole(message, IdentityErrorCode::LoginFailed)],
        }),
        Err(other) => Err(coded(other.code(), other.to_string())),
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
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<User> {
        at_least(context, min_position).await?;
        let id = user(context)?.user;
        let row = projections::identity::user::find(&app(context)?.pool, id)
            .await
            .map_err(|e| unreadable(&e))?;
        row.map(User)
            .ok_or_else(|| coded("UNAVAILABLE", "the account is not readable yet, try again"))
    }

    /// One's own open sessions, the newest first; at most 100.
    async fn sessions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Vec<Session>> {
        at_least(context, min_position).await?;
        let (app, user) = (app(context)?, user(context)?);
        let rows = projections::identity::session::open(&app.pool, user.user, app.now()).await;
        let rows = rows.map_err(|error| unreadable(&error))?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let current = Some(row.id) == user.session;
                Session(row, current)
            })
            .collect())
    }

    /// All accounts, the newest first. Needs `users.read`.
    #[graphql(complexity = "super::paging::weight(first, child_complexity)")]
    async fn users(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<async_graphql::connection::Connection<String, User>> {
        require(context, Action::UsersRead, "users")?;
        let request = page(first, after.as_deref())?;
        at_least(context, min_position).await?;
        let rows = projections::identity::user::list(&app(context)?.pool, &request)
            .await
            .map_err(|e| unreadable(&e))?;
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
    /// Makes the first administrator. Works once, with the set-up token.
    async fn create_first_administrator(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Token and account.")] input: CreateFirstAdministratorInput,
    ) -> Result<AccountPayload> {
        sessions::admit(app(context)?, caller(context)?)
            .map_err(|error| coded(error.code(), error.to_string()))?;
        if !sessions::setup_token_matches(app(context)?, &input.setup_token) {
            let fault = Fault::of(
                "setupToken",
                "this is not the set-up token",
                IdentityErrorCode::InvalidToken,
            );
            return Ok(AccountPayload {
                user: None,
                position: None,
                user_errors: vec![fault],
            });
        }
        let account = match new_account(context, input.account).await? {
            Ok(account) => account,
            Err(user_errors) => {
                return Ok(AccountPayload {
                    user: None,
                    position: None,
                    user_errors,
                });
            }
        };
        let user = account.user;
        let outcome = run(context, &CreateFirstAdministrator { account }).await?;
        account_payload(context, user, outcome).await
    }

    /// Registers an account. A verification token is sent to its address.
    async fn register(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account.")] input: RegisterInput,
    ) -> Result<AccountPayload> {
        sessions::admit(app(context)?, caller(context)?)
            .map_err(|error| coded(error.code(), error.to_string()))?;
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
            sessions::verification_token(user).map_err(|e| coded(e.code(), e.to_string()))?;
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
            sessions::mail_verification(app, &email, &token).await;
        }
        account_payload(context, user, outcome).await
    }

    /// Proves an e-mail address by the token that was sent to it.
    async fn verify_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The token.")] input: VerifyEmailInput,
    ) -> Result<IdentityPayload> {
        sessions::admit(app(context)?, caller(context)?)
            .map_err(|error| coded(error.code(), error.to_string()))?;
        let refuse = |message: String, code| {
            Ok(IdentityPayload {
                position: None,
                user_errors: vec![Fault::of("token", message, code)],
            })
        };
        let Some((user, token_hash)) = sessions::read_verification_token(&input.token) else {
            return refuse(
                "this is not a verification token".to_owned(),
                IdentityErrorCode::InvalidToken,
            );
        };
        match run(context, &VerifyEmail { user, token_hash }).await? {
            Outcome::Done(position) => {
                reach(context, position).await?;
                Ok(IdentityPayload {
                    position: Some(position.into()),
                    user_errors: Vec::new(),
                })
            }
            Outcome::Refused(reason @ domain::identity::user::VerifyRefusal::Expired) => {
                refuse(reason.to_string(), IdentityErrorCode::TokenExpired)
            }
            Outcome::Refused(reason) => refuse(reason.to_string(), IdentityErrorCode::InvalidToken),
            Outcome::NotFound => Err(coded("NOT_FOUND", "not found")),
        }
    }

    /// Logs in. The answer does not tell whether the account exists.
    async fn login(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Name and password.")] input: LoginInput,
    ) -> Result<SessionPayload> {
        let attempt = sessions::Attempt {
            login: input.login,
            password: input.password,
            device: input.device,
        };
        session_payload(sessions::login(app(context)?, caller(context)?, attempt).await)
    }

    /// Exchanges a refresh token for new tokens. A used one ends its session.
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
            .ok_or_else(|| coded("UNAUTHENTICATED", "there is no session"))?;
        end(context, session, "logout").await
    }

    /// Ends one of one's own sessions.
    async fn revoke_session(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The session.")] input: RevokeSessionInput,
    ) -> Result<IdentityPayload> {
        user(context)?;
        match input.session_id.parse::<SessionId>() {
            Ok(session) => end(context, session, "revoked").await,
            Err(error) => {
                let fault = Fault::of("sessionId", error.to_string(), IdentityErrorCode::Invalid);
                Ok(IdentityPayload {
                    position: None,
                    user_errors: vec![fault],
                })
            }
        }
    }

    /// Switches an account off, which ends all its sessions at once, or on again. Needs `users.update`.
    async fn set_user_active(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Account, on or off, and why.")] input: SetUserActiveInput,
    ) -> Result<AccountPayload> {
        user(context)?;
        let refuse = |path: &str, message: String, code| {
            Ok(AccountPayload {
                user: None,
                position: None,
                user_errors: vec![Fault::of(path, message, code)],
            })
        };
        let id = match input.user_id.parse::<UserId>() {
            Ok(id) => id,
            Err(error) => return refuse("userId", error.to_string(), IdentityErrorCode::Invalid),
        };
        let command = SetUserActive {
            user: id,
            active: input.active,
            reason: input.reason,
        };
        match run(context, &command).await? {
            Outcome::Done(position) => account_payload(context, id, Outcome::Done(position)).await,
            Outcome::Refused(reason @ AccountRefusal::OwnAccount) => {
                refuse("userId", reason.to_string(), IdentityErrorCode::OwnAccount)
            }
            Outcome::Refused(reason) => refuse("reason", reason.to_string(), IdentityErrorCode::Invalid),
            Outcome::NotFound => refuse(
                "userId",
                "there is no such user".to_owned(),
                IdentityErrorCode::NotFound,
            ),
        }
    }
}

async fn end(context: &Context<'_>, session: SessionId, cause: &'static str) -> Result<IdentityPayload> {
    match run(context, &EndSession { session, cause }).await? {
        Outcome::Done(position) => {
            reach(context, position).await?;
            Ok(IdentityPayload {
                position: Some(position.into()),
                user_errors: Vec::new(),
            })
        }
        Outcome::Refused(never) => match never {},
        Outcome::NotFound => {
            let fault = Fault::of(
                "sessionId",
                "there is no such session",
                IdentityErrorCode::NotFound,
            );
            Ok(IdentityPayload {
                position: None,
                user_errors: vec![fault],
            })
        }
    }
}
