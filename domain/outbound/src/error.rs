//! Why nothing came of a call.
//!
//! One rule: an error names what went wrong and never what was sent or received, so that it can be logged, shown and
//! stored as it is.

use std::time::Duration;

use crate::address::Special;

/// Why an address may not be called. Data for whoever shows it beside the setting that has the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than [`crate::target::LONGEST`].
    #[error("the address is too long")]
    TooLong,
    /// No URL by the URL standard.
    #[error("the address is not a valid URL")]
    Unparsable,
    /// Space, control characters or backslashes, which programs read differently.
    #[error("the address has characters that do not belong into a URL")]
    Characters,
    /// Another scheme than `https` and `http`.
    #[error("the address does not begin with https://")]
    Scheme,
    /// `http`, where it is not allowed.
    #[error("the address is not encrypted (http); use https")]
    PlainHttp,
    /// `user:password@`.
    #[error("the address has a user name or password in it")]
    UserInfo,
    /// `#…`, which is never sent.
    #[error("the address has a fragment (#…)")]
    Fragment,
    /// No host, or one that no name server would have.
    #[error("the host of the address is not valid")]
    Host,
    /// A port that is not for this kind of call.
    #[error("port {0} is not allowed")]
    Port(u16),
    /// The host is, or has, an address that is not allowed. What it is, is for logs: whoever may set an address is not to
    /// find out what names of the inner network stand for.
    #[error("the host of the address is not allowed")]
    Address(Special),
}

/// What a deadline was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Waiting until fewer calls are under way.
    Queue,
    /// Finding the address.
    Lookup,
    /// The connection, with TLS.
    Connect,
    /// Sending, and waiting for the answer's head.
    FirstByte,
    /// Waiting for the next piece of the answer.
    Idle,
    /// The whole call, with all tries.
    Total,
}

impl Stage {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Lookup => "lookup",
            Self::Connect => "connect",
            Self::FirstByte => "first byte",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

/// Why a call has no answer, or only a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Not allowed. Nothing was connected to.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The name has no address, or no name server answers.
    #[error("the host's name cannot be resolved")]
    Lookup,
    /// No address of the host takes a connection.
    #[error("no connection to the host")]
    Connect,
    /// The host's certificate is not trusted, or it speaks no TLS that we do.
    #[error("no trusted TLS connection to the host")]
    Tls,
    /// A deadline passed.
    #[error("no answer in time ({})", .0.name())]
    TimedOut(Stage),
    /// The connection ended in the middle.
    #[error("the connection was cut off")]
    Interrupted,
    /// What came is no HTTP.
    #[error("the host does not answer in HTTP")]
    Protocol,
    /// The body to send is longer than allowed, in bytes.
    #[error("the request is longer than {limit} bytes")]
    RequestTooLarge {
        /// The most that may be sent.
        limit: u64,
    },
    /// The body that came is longer than allowed, in bytes. What came before the limit may have been read.
    #[error("the answer is longer than {limit} bytes")]
    AnswerTooLarge {
        /// The most that is read.
        limit: u64,
    },
    /// The answer's headers are longer than allowed.
    #[error("the answer's headers are too long")]
    HeadersTooLarge,
    /// The destination failed too often lately, and is left alone.
    #[error("the host failed repeatedly; next try in {} s", .retry_in.as_secs() + 1)]
    BreakerOpen {
        /// How long it is left alone yet.
        retry_in: Duration,
    },
    /// As many calls are under way as may be.
    #[error("too many calls are under way")]
    Busy,
    /// The caller's own fault: a header that only the connection may set, or a body that failed while it was read.
    #[error("the request cannot be sent: {0}")]
    Request(&'static str),
    /// The body is not what the caller reads it as (JSON).
    #[error("the answer cannot be read")]
    Unexpected,
}

impl CallError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Lookup
                | Self::Connect
                | Self::TimedOut(_)
                | Self::Interrupted
                | Self::BreakerOpen { .. }
                | Self::Busy
        )
    }

    /// Whether it speaks against the destination, and not against the call.
    pub(crate) const fn is_failure_of_destination(&self) -> bool {
        matches!(
            self,
            Self::Lookup
                | Self::Connect
                | Self::Tls
                | Self::TimedOut(Stage::Lookup | Stage::Connect | Stage::FirstByte | Stage::Idle)
                | Self::Interrupted
                | Self::Protocol
        )
    }

    /// Whether a call that may be repeated is tried again after it: the connection did not come about or broke.
    pub(crate) const fn is_worth_a_retry(&self) -> bool {
        matches!(
            self,
            Self::Lookup | Self::Connect | Self::TimedOut(Stage::Lookup | Stage::Connect) | Self::Interrupted
        )
    }

    /// The label of metrics.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Lookup => "lookup",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::TimedOut(_) => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Protocol => "protocol",
            Self::RequestTooLarge { .. } | Self::AnswerTooLarge { .. } | Self::HeadersTooLarge => "too_large",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Busy => "busy",
            Self::Request(_) => "request",
            Self::Unexpected => "unexpected",
        }
    }
}
