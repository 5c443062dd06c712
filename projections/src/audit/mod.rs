//! The audit log, as read: the event log with its metadata spread into columns.

pub mod entry;
pub mod search;
