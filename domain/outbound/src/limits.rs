//! How long a call may take, and how large it may be.
//!
//! One rule: nothing is unbounded, and every bound can be set by the caller, who knows what is usual.

use std::time::Duration;

/// Bounds of one call. Times of connecting and the size of headers are the client's ([`crate::OutboundOptions`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the call to the end of its answer, with waiting for a turn and all tries.
    pub total: Duration,
    /// The longest stretch in which neither a piece of the request is taken nor the answer begins.
    pub first_byte: Duration,
    /// The longest wait for the next piece of an answer.
    pub idle: Duration,
    /// The most bytes that are sent as a body.
    pub request_bytes: u64,
    /// The most bytes that are read as a body.
    pub answer_bytes: u64,
}

impl Default for Limits {
    /// For small documents: 30 s, 1 MiB each way.
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            first_byte: Duration::from_secs(15),
            idle: Duration::from_secs(15),
            request_bytes: 1 << 20,
            answer_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// For files and streams: an hour, and `bytes` each way.
    #[must_use]
    pub fn of_transfer(bytes: u64) -> Self {
        Self {
            total: Duration::from_secs(3_600),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            request_bytes: bytes,
            answer_bytes: bytes,
        }
    }
}
