//! How notifications leave the process.

pub mod outbox;
