//! Test support: given–when–then, the log below it, and fixtures.

pub(crate) mod fixtures;
pub(crate) mod given_when_then;
pub(crate) mod log;
pub(crate) mod people;

pub(crate) use fixtures::*;
pub(crate) use given_when_then::{expected_event, given};
