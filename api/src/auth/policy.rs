//! What a new account's username, e-mail address and password must look like (ID-1, SE-6).
//!
//! One rule: a form is answered with everything that is wrong with it at once, in words and in codes.

use std::collections::HashSet;
use std::sync::LazyLock;

mod common;

/// Fewest and most characters of a password (SE-6).
pub const PASSWORD_CHARACTERS: std::ops::RangeInclusive<usize> = 10..=256;
/// Fewest and most characters of a username (ID-1).
pub const USERNAME_CHARACTERS: std::ops::RangeInclusive<usize> = 3..=32;
/// The longest e-mail address, in bytes (RFC 5321, section 4.5.3.1.3, without the brackets).
pub const MAX_EMAIL_BYTES: usize = 254;

/// One thing that is wrong with one field of a form.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldProblem {
    /// The field, as the caller named it (`"password"`).
    pub path: String,
    /// What kind of problem, for programs: never changes (`"TOO_SHORT"`).
    pub code: &'static str,
    /// What is wrong and what would be right, for people. Never holds a password.
    pub message: String,
}

impl FieldProblem {
    /// A problem of the field `path`.
    #[must_use]
    pub fn new(path: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            code,
            message: message.into(),
        }
    }
}

/// Checks a username; gives it in lower case, the form in which it is unique.
///
/// # Errors
/// All problems: `TOO_SHORT`, `TOO_LONG`, `INVALID_CHARACTERS`, `NO_LETTER_OR_DIGIT`.
pub fn username(path: &str, typed: &str) -> Result<String, Vec<FieldProblem>> {
    let normalised = typed.to_ascii_lowercase();
    let mut problems = Vec::new();
    length(
        path,
        "a username",
        &normalised,
        USERNAME_CHARACTERS,
        &mut problems,
    );
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if !normalised.chars().all(allowed) {
        let message = "a username consists of the letters a to z, digits, '.', '_' and '-'";
        problems.push(FieldProblem::new(path, "INVALID_CHARACTERS", message));
    } else if !normalised.is_empty() && !normalised.contains(|c: char| c.is_ascii_alphanumeric()) {
        let message = "a username has at least one letter or digit";
        problems.push(FieldProblem::new(path, "NO_LETTER_OR_DIGIT", message));
    }
    none_or(problems, normalised)
}

/// Checks an e-mail address (the part of RFC 5321 that is in use: `dot-atom@host.domain`, ASCII); gives it
/// in lower case, the form in which it is unique.
///
/// # Errors
/// All problems: `REQUIRED`, `TOO_LONG`, `INVALID_CHARACTERS`, `INVALID_FORMAT`.
pub fn email(path: &str, typed: &str) -> Result<String, Vec<FieldProblem>> {
    let mut problems = Vec::new();
    if typed.is_empty() {
        problems.push(FieldProblem::new(path, "REQUIRED", "an e-mail address is needed"));
        return Err(problems);
    }
    if typed.len() > MAX_EMAIL_BYTES {
        let message = format!("an e-mail address has at most {MAX_EMAIL_BYTES} characters");
        problems.push(FieldProblem::new(path, "TOO_LONG", message));
    }
    if !typed.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "an e-mail address has no spaces, control characters or letters with accents; \
                       write an international domain in its 'xn--' form";
        problems.push(FieldProblem::new(path, "INVALID_CHARACTERS", message));
    }
    if !typed
        .rsplit_once('@')
        .is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain))
    {
        let message = "this is not an e-mail address; it looks like name@example.org";
        problems.push(FieldProblem::new(path, "INVALID_FORMAT", message));
    }
    none_or(problems, typed.to_ascii_lowercase())
}

/// A `dot-atom` of at most 64 bytes (RFC 5322, section 3.2.3).
fn is_local_part(local: &str) -> bool {
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.len() <= 64
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(atom))
}

/// Two or more labels of letters, digits and inner hyphens; the last is no number.
fn is_domain(domain: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = domain.rsplit('.').next().unwrap_or_default();
    domain.contains('.') && domain.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks a new password against the policy (SE-6). It is taken exactly as typed.
///
/// # Errors
/// All problems: `TOO_SHORT`, `TOO_LONG`, `TOO_COMMON`, `CONTAINS_USERNAME`.
pub fn password(path: &str, typed: &str, username: &str) -> Result<(), Vec<FieldProblem>> {
    let mut problems = Vec::new();
    length(path, "a password", typed, PASSWORD_CHARACTERS, &mut problems);
    // Beyond the limit the other questions are not worth their time.
    if typed.len() <= PASSWORD_CHARACTERS.end() * char::MAX_LEN_UTF8 {
        if common::is_common(typed) {
            let message = "this password is too common; choose another one";
            problems.push(FieldProblem::new(path, "TOO_COMMON", message));
        }
        let username = username.to_lowercase();
        if !username.is_empty() && typed.to_lowercase().contains(&username) {
            let message = "a password does not contain the username";
            problems.push(FieldProblem::new(path, "CONTAINS_USERNAME", message));
        }
    }
    none_or(problems, ())
}

/// Username and e-mail address in the form in which they are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// The username in lower case.
    pub username: String,
    /// The e-mail address in lower case.
    pub email: String,
}

/// Checks the three fields of a registration together, under the paths `username`, `email` and `password`.
///
/// # Errors
/// Every problem of every field.
pub fn registration(username_: &str, email_: &str, password_: &str) -> Result<Normalised, Vec<FieldProblem>> {
    let mut problems = Vec::new();
    let username = username("username", username_).map_err(|found| problems.extend(found));
    let email = email("email", email_).map_err(|found| problems.extend(found));
    problems.extend(
        password("password", password_, username_)
            .err()
            .unwrap_or_default(),
    );
    match (username, email) {
        (Ok(username), Ok(email)) => none_or(problems, Normalised { username, email }),
        _ => Err(problems),
    }
}

fn length(
    path: &str,
    what: &str,
    text: &str,
    allowed: std::ops::RangeInclusive<usize>,
    problems: &mut Vec<FieldProblem>,
) {
    let characters = text.chars().count();
    let (least, most) = (allowed.start(), allowed.end());
    if characters < *least {
        let message = format!("{what} has at least {least} characters");
        problems.push(FieldProblem::new(path, "TOO_SHORT", message));
    } else if characters > *most {
        let message = format!("{what} has at most {most} characters");
        problems.push(FieldProblem::new(path, "TOO_LONG", message));
    }
}

fn none_or<T>(problems: Vec<FieldProblem>, value: T) -> Result<T, Vec<FieldProblem>> {
    if problems.is_empty() {
        Ok(value)
    } else {
        Err(problems)
    }
}

/// The shipped list, one entry per line, lower case (SE-6). `#` begins a comment.
static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("common_passwords.txt").lines();
    lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
});

#[cfg(test)]
mod tests;
