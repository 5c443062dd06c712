//! From what a client typed to an account that can be decided on: every fault at once, the password hashed.

use async_graphql::{Context, Result};
use domain::{
    id::UserId,
    identity::registration::{NewAccount, RegisterRefusal},
};

use super::types::{Errors, RegisterInput};
use crate::{
    auth::policy::{self, FieldProblem},
    graphql::{
        context::app,
        errors::error_with_code,
        user_error::{UserError, UserErrorCode},
    },
    sessions,
};

fn problem(found: FieldProblem) -> UserError {
    let code = if found.path == "password" {
        UserErrorCode::WeakPassword
    } else {
        UserErrorCode::Invalid
    };
    UserError::at(&found.path, found.message, code)
}

pub(super) fn refused(reason: RegisterRefusal) -> UserError {
    let (path, code) = match reason {
        RegisterRefusal::UsernameTaken => ("username", UserErrorCode::UsernameTaken),
        RegisterRefusal::EmailTaken => ("email", UserErrorCode::EmailTaken),
        RegisterRefusal::RegistrationClosed => ("", UserErrorCode::RegistrationClosed),
        RegisterRefusal::SetupRequired => ("", UserErrorCode::SetupRequired),
        RegisterRefusal::AlreadySetUp => ("", UserErrorCode::AlreadySetUp),
    };
    match path {
        "" => UserError::whole(reason.to_string(), code),
        path => UserError::at(path, reason.to_string(), code),
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

/// Checks the form of a new account and hashes its password.
pub(super) async fn new_account(
    context: &Context<'_>,
    input: RegisterInput,
) -> Result<Result<NewAccount, Errors>> {
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
        .map_err(|error| error_with_code(error.code(), error.to_string()))?;
    Ok(Ok(NewAccount {
        user: UserId(app.ports.ids.next()),
        username_reservation: sessions::reservation_key(app, "username", &normalised.username),
        email_reservation: sessions::reservation_key(app, "email", &normalised.email),
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
