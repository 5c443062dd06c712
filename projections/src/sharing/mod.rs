//! Who has access to what, as read.

pub mod party;
