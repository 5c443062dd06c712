//! From what a client typed to an account that can be decided on: every fault at once, the password hashed.

use async_graphql::{Context, Error, Result};
use domain::{
    id::UserId,
    identity::{
        registration::{CreateFirstAdministrator, NewAccount, Register, RegisterRefusal},
        tokens::TokenKind,
        user::VerifyEmail,
    },
};

use super::types::{AccountInput, AccountPayload, CreateFirstAdministratorInput, Errors, IdentityPayload};
use crate::{
    auth::policy::{self, FieldProblem},
    graphql::{
        context::{app, caller},
        errors::error_with_code,
        mutation::{Ended, MutationCall, NoEntity},
        types::User,
        user_error::{Problem, UserError, UserErrorCode, Within, within},
    },
    sessions::{self, SessionError},
};

fn problem(found: FieldProblem) -> UserError {
    let code = if found.path == "password" {
        UserErrorCode::WeakPassword
    } else {
        UserErrorCode::Invalid
    };
    UserError::at(&found.path, found.message, code)
}

impl Problem for RegisterRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::UsernameTaken => ("username", UserErrorCode::UsernameTaken),
            Self::EmailTaken => ("email", UserErrorCode::EmailTaken),
            Self::RegistrationClosed => ("", UserErrorCode::RegistrationClosed),
            Self::SetupRequired => ("", UserErrorCode::SetupRequired),
            Self::AlreadySetUp => ("", UserErrorCode::AlreadySetUp),
        }
    }
}

/// A text that may be left out, as [`domain::text::called`] takes it; blanks are none.
pub(super) fn optional_text(
    path: &'static str,
    text: Option<&String>,
    errors: &mut Errors,
) -> Option<String> {
    let text = text.map(|text| text.trim()).filter(|text| !text.is_empty())?;
    domain::text::called(path, text)
        .map_err(|problem| errors.push(UserError::at(path, problem.message, UserErrorCode::Invalid)))
        .ok()
}

/// Slows down whoever tries too often from one address.
///
/// # Errors
/// `RATE_LIMITED`.
pub(super) fn admit(context: &Context<'_>) -> Result<()> {
    sessions::admit(app(context)?, caller(context)?).map_err(|error| failed(&error))
}

/// A failure of what makes sessions and accounts, as a top-level error.
pub(super) fn failed(error: &SessionError) -> Error {
    error_with_code(error.code(), error.to_string())
}

/// Checks the form of a new account, at the field `at` of the input, and hashes its password; `None` when the call was told
/// what is wrong.
pub(super) async fn new_account(
    call: &mut MutationCall<'_, '_>,
    at: Option<&str>,
    input: AccountInput,
) -> Result<Option<NewAccount>> {
    let mut errors: Errors = Vec::new();
    let normalised = policy::registration(&input.username, &input.email, &input.password);
    let first_name = optional_text("firstName", input.first_name.as_ref(), &mut errors);
    let last_name = optional_text("lastName", input.last_name.as_ref(), &mut errors);
    let company = optional_text("company", input.company.as_ref(), &mut errors);
    let division = optional_text("division", input.division.as_ref(), &mut errors);
    let department = optional_text("department", input.department.as_ref(), &mut errors);
    let normalised = normalised.map_err(|found| errors.extend(found.into_iter().map(problem)));
    call.refuse(match at {
        Some(field) => within(field, errors),
        None => errors,
    });
    let (Ok(normalised), false) = (normalised, call.is_wrong()) else {
        return Ok(None);
    };
    let app = call.app();
    let password = sessions::hash(app, input.password).await;
    Ok(Some(NewAccount {
        user: call.fresh(),
        username_reservation: sessions::reservation_key(app, "username", &normalised.username),
        email_reservation: sessions::reservation_key(app, "email", &normalised.email),
        username: normalised.username,
        email: input.email.trim().to_owned(),
        password: password.map_err(|error| failed(&error))?,
        first_name,
        last_name,
        company,
        division,
        department,
    }))
}

/// Registers an account. What its address gets by mail is sent by the reactor of registrations, so that the answer is the
/// same whether somebody has the address or not (SE-5), and no mail is lost.
pub(super) async fn register(
    mut call: MutationCall<'_, '_>,
    input: AccountInput,
) -> Result<Option<AccountPayload>> {
    let Some(account) = new_account(&mut call, None, input).await? else {
        return Ok(Some(call.rejected()));
    };
    let (app, user, verification_token) = (call.app(), account.user, call.fresh());
    let command = Register {
        verification_hash: app.pepper.verification_token(user, verification_token).hash,
        verification_token,
        account,
        open: app.settings.self_registration,
    };
    let ended = call.execute::<User, _>(user, &command).await?;
    call.answer(ended).await
}

/// Creates the first administrator for whoever presents the set-up token.
pub(super) async fn create_first_administrator(
    mut call: MutationCall<'_, '_>,
    input: CreateFirstAdministratorInput,
) -> Result<Option<AccountPayload>> {
    let matches = sessions::setup_token_matches(call.app(), call.caller(), &input.setup_token).await;
    if !matches.map_err(|error| failed(&error))? {
        let message = "this is not the set-up token";
        call.refuse([UserError::at("setupToken", message, UserErrorCode::InvalidToken)]);
        return Ok(Some(call.rejected()));
    }
    let Some(account) = new_account(&mut call, Some("account"), input.account).await? else {
        return Ok(Some(call.rejected()));
    };
    let user = account.user;
    let ended = call
        .execute::<User, _>(user, &CreateFirstAdministrator { account })
        .await?;
    call.answer(ended.map(|refusal| Within("account", refusal))).await
}

/// Verifies an address. A token that is not good is recorded or counted.
pub(super) async fn verify_email(
    mut call: MutationCall<'_, '_>,
    presented: &str,
) -> Result<Option<IdentityPayload>> {
    let Some((user, token_hash)) = sessions::read_verification_token(presented) else {
        record_refused(&call, None).await?;
        let message = "this is not a verification token";
        call.refuse([UserError::at("token", message, UserErrorCode::InvalidToken)]);
        return Ok(Some(call.rejected()));
    };
    let ended = call
        .execute::<NoEntity, _>(user.0, &VerifyEmail { user, token_hash })
        .await?;
    if matches!(ended, Ended::Refused(_)) {
        record_refused(&call, Some(user)).await?;
    }
    call.answer(ended).await
}

async fn record_refused(call: &MutationCall<'_, '_>, user: Option<UserId>) -> Result<()> {
    let recorded = sessions::token_refused(call.app(), call.caller(), TokenKind::Verification, user).await;
    recorded.map_err(|error| failed(&error))
}
