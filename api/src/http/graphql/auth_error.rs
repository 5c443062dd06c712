//! Why authentication fails.
//!
//! One rule: clients read the messages, so each says what they can do about it.

use std::borrow::Cow;
use std::time::Duration;

use async_graphql::{Response, ServerError};

/// Why nobody could be found behind the credentials. Clients read the messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The credentials are wrong or expired: log in again.
    #[error("{0}")]
    Unauthenticated(Cow<'static, str>),
    /// The caller is known and may not come in, for example a locked account.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// Too many tries.
    #[error("too many requests; try again in {} s", .retry_after.as_secs().max(1))]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Nothing can be said at present; the same credentials may do later.
    #[error("sessions cannot be checked at present; try again")]
    Unavailable,
}

impl AuthError {
    /// The code in the extensions of a GraphQL error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// The response of an operation that was not begun.
    #[must_use]
    pub fn response(&self) -> Response {
        let mut refused = ServerError::new(self.to_string(), None);
        let extensions = refused.extensions.get_or_insert_default();
        extensions.set("code", self.code());
        Response::from_errors(vec![refused])
    }
}
