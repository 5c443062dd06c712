//! Identity: accounts, organisations, sessions.

pub mod badge;
pub mod claim;
pub mod erasure;
pub mod login;
pub mod organization;
pub mod registration;
pub mod session;
pub mod user;
