//! What the tests speak with: the sentence given–when–then, the log below it, and the cast.

pub(crate) mod cast;
pub(crate) mod log;
pub(crate) mod sentence;

pub(crate) use cast::*;
pub(crate) use sentence::{fact, given};
