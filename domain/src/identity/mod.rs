//! Identity: accounts, organizations, sessions.

pub mod account_status;
pub mod badge;
pub mod erasure;
pub mod keys;
pub mod login;
pub mod organization;
pub mod registration;
pub mod reservation;
pub mod session;
pub mod tokens;
pub mod user;
