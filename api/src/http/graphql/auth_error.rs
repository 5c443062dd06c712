//! Why authentication fails.
//!
//! One rule: clients read the messages, so each says what they can do about it.

use std::borrow::Cow;
use std::time::Duration;

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
