//! Audit: the event log is the audit log. What is recorded here are reads that an auditor asks about.

pub mod collection;
pub mod record;
pub mod sensitive_read;
