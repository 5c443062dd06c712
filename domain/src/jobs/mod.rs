//! Training jobs: what is asked for, who works on it, how far it is, how it ended.

pub mod job;
pub mod lease;
pub mod progress;
pub mod report;
pub mod spec;
pub mod start;
