//! Integration tests: the whole application on real PostgreSQL, through its API.

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
mod graphql;
mod hostile;
mod http;
mod identity;
mod integrity;
mod jobs;
mod key_files;
mod kill;
mod models;
mod operator_files;
mod output;
mod permissions;
mod projections;
mod projects;
mod sealing;
mod simulation;
mod time_travel;
mod tls;
mod vocabulary;
mod workers;
mod write_path;
