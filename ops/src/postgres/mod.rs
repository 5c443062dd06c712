//! The embedded PostgreSQL: a private cluster inside the data folder, run from the programs of the machine.
//!
//! One rule: nobody but this process can use the cluster, and the cluster never outlives this process.
//! It listens on one Unix socket, in a folder that only its owner may enter, and on no network address.
//! The server is started under a small supervisor that stops it as soon as this process is gone, even
//! after `kill -9`. Root may not run PostgreSQL, so for root the server runs as the account `postgres`
//! (or `nobody`), and reaches its folder without any right on the folders above it.
//!
//! Inside the data folder:
//!
//! ```text
//! VERSION             format of the folder; a newer one is refused
//! lock                held by the running process, holds its process id
//! postgres/cluster/   PostgreSQL's own data folder
//! postgres/run/       the socket
//! postgres/log/       one log per weekday, and start.log
//! ```

mod account;
mod cluster;
mod error;
mod folder;
mod handle;
mod initdb;
mod leftover;
mod lost;
mod private;
mod process;
mod programs;
mod settings;
mod socket;
mod supervisor;

pub use account::Account;
pub use cluster::Cluster;
pub use error::ClusterError;
pub use folder::{DataFolder, free_bytes, refuse_no_folder};
pub use lost::refuse_lost_database;
pub use programs::{Missing, Programs};
pub use settings::Options;
