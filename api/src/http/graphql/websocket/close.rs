//! Why the server closes a socket: codes of the protocol (4xxx, fatal to clients) and of RFC 6455.

use std::borrow::Cow;

use axum::extract::ws::{CloseFrame, Message};

use crate::http::graphql::auth_error::AuthError;
use crate::http::graphql::executor::SessionEnd;

/// A control frame holds 125 bytes, two of them for the code (RFC 6455, 5.5).
const LONGEST_REASON: usize = 123;

/// A code and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    code: u16,
    reason: Cow<'static, str>,
}

impl Close {
    /// 4400: a message that the protocol does not know.
    pub(super) fn bad_message(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: 4400,
            reason: reason.into(),
        }
    }

    /// 4401: an operation before `connection_ack`.
    pub(super) fn unauthorized() -> Self {
        Self {
            code: 4401,
            reason: Cow::Borrowed("Unauthorized"),
        }
    }

    /// 4401: no credentials came with `connection_init`, and the time without is over.
    pub(super) fn no_credentials() -> Self {
        Self {
            code: 4401,
            reason: Cow::Borrowed("no credentials came in time; send an access token in connection_init"),
        }
    }

    /// 4429: the account has its share of sockets.
    pub(super) fn over_share(reason: String) -> Self {
        Self {
            code: 4429,
            reason: reason.into(),
        }
    }

    /// 4406: the client does not speak `graphql-transport-ws`.
    pub(super) fn wrong_protocol() -> Self {
        Self {
            code: 4406,
            reason: Cow::Borrowed("Subprotocol not acceptable"),
        }
    }

    /// 4408: no `connection_init` in time.
    pub(super) fn init_timeout() -> Self {
        Self {
            code: 4408,
            reason: Cow::Borrowed("Connection initialisation timeout"),
        }
    }

    /// 4409: an operation's id is in use.
    pub(super) fn duplicate(id: &str) -> Self {
        Self {
            code: 4409,
            reason: format!("Subscriber for {id} already exists").into(),
        }
    }

    /// 4429: a second `connection_init`.
    pub(super) fn second_init() -> Self {
        Self {
            code: 4429,
            reason: Cow::Borrowed("Too many initialisation requests"),
        }
    }

    /// 1001: the server shuts down; come back.
    pub(super) fn shutting_down() -> Self {
        Self {
            code: 1001,
            reason: Cow::Borrowed("server is shutting down"),
        }
    }

    /// 1002: bytes that are no WebSocket frames.
    pub(super) fn broken() -> Self {
        Self {
            code: 1002,
            reason: Cow::Borrowed("the frames cannot be read"),
        }
    }

    /// 1009: a message over the bound.
    pub(super) fn too_long(limit: usize) -> Self {
        Self {
            code: 1009,
            reason: format!("messages have at most {limit} bytes").into(),
        }
    }

    /// 1013: come back later and resume.
    pub(super) fn try_again(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: 1013,
            reason: reason.into(),
        }
    }

    /// The frame that says so, its reason cut to what a frame holds.
    pub(super) fn frame(&self) -> Message {
        let end = self.reason.floor_char_boundary(LONGEST_REASON);
        Message::Close(Some(CloseFrame {
            code: self.code,
            reason: self.reason[..end].into(),
        }))
    }
}

/// Credentials that do not hold.
impl From<AuthError> for Close {
    fn from(error: AuthError) -> Self {
        let reason = error.to_string();
        match error {
            AuthError::Unauthenticated(_) => Self {
                code: 4401,
                reason: reason.into(),
            },
            AuthError::Forbidden(_) => Self {
                code: 4403,
                reason: reason.into(),
            },
            AuthError::RateLimited { .. } | AuthError::Unavailable => Self::try_again(reason),
        }
    }
}

/// A session that ended under the socket.
impl From<SessionEnd> for Close {
    fn from(end: SessionEnd) -> Self {
        match end {
            // Clients give up for good at 4401. At 4403 they connect again, and ask for a fresh token as they do.
            SessionEnd::Expired => Self {
                code: 4403,
                reason: Cow::Borrowed("the access token expired; connect again with a fresh one"),
            },
            SessionEnd::Revoked(reason) => Self { code: 4403, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Close;
    use axum::extract::ws::Message;

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let Message::Close(Some(frame)) = Close::duplicate(&"é".repeat(100)).frame() else {
            panic!("a close frame");
        };
        assert_eq!(frame.code, 4409);
        assert!(
            (122..=123).contains(&frame.reason.len()),
            "{}",
            frame.reason.len()
        );
    }
}
