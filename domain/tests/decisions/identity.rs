//! Accounts and sessions.

mod accounts;
mod erasure;
mod registration;
mod sessions;
