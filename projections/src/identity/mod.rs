//! Accounts and sessions, as read.

pub mod erasure;
pub mod session;
pub mod user;
