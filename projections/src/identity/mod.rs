//! Accounts and sessions, as read.

pub mod session;
pub mod user;
