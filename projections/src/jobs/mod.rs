//! Jobs, as read.

pub mod job;
