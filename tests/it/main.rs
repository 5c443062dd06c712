//! Integration tests: the whole application on real PostgreSQL, through its doors.

mod access;
mod architecture;
mod audit;

mod contracts;
mod crash;
mod datasets;
mod event_store;
mod hostile;
mod identity;
mod integrity;
mod jobs;
mod models;
mod permissions;
mod projects;
mod workers;
mod write_path;
