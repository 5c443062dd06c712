//! Notifications: mail, and deliveries that are tried again. Channels and preferences are not decided here yet.

pub mod delivery;
pub mod mail;
