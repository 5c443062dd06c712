//! Accounts and sessions.

mod accounts;
mod registration;
mod sessions;
