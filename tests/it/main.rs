//! Integration tests: the whole application on real PostgreSQL, through its doors.

mod access;
mod audit;
mod crash;
mod datasets;
mod event_store;
mod hostile;
mod identity;
mod jobs;
mod projects;
