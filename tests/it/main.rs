//! Integration tests: the whole application on real PostgreSQL, through its doors.

mod access;
mod administrators;
mod architecture;
mod audit;

mod contracts;
mod crash;
mod datasets;
mod devices;
mod erasure;
mod event_store;
mod fixture_logs;
mod fleet;
mod hostile;
mod identity;
mod integrity;
mod jobs;
mod key_files;
mod kill;
mod models;
mod output;
mod permissions;
mod projections;
mod projects;
mod sealing;
mod simulation;
mod time_travel;
mod workers;
mod write_path;
