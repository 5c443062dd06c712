//! What every test stands on: a private PostgreSQL, a fresh database, the whole application, and real clients.

pub mod app;
pub mod client;
pub mod cluster;
mod credentials;
pub mod events;
pub mod feed;
mod folders;
pub mod here;
pub mod imports;
pub mod lending;
pub mod object_server;
pub mod people;
pub mod processes;
pub mod reactors;
pub mod rows_read;
pub mod servers;
pub mod statements;
pub mod tls;

pub use app::{TestApp, TestOptions};
pub use client::{Answer, Client};
pub use cluster::{Database, database_with};
pub use feed::Feed;

/// A fresh, migrated database.
pub async fn database() -> Database {
    anneal::tls::install();
    database_with(async |url: &str| projections::database::migrate(url).await).await
}
