//! The write side: pure decisions over recorded facts.
//!
//! One rule governs this crate: nothing here touches the network, a disk, a clock or a random number
//! generator. Time and ids come in as arguments ([`clock::Clock`], [`id::Ids`]); the log is a port
//! ([`event_store::EventStore`]). `tests/it/architecture.rs` proves it.
//!
//! Inside, one module per bounded context, under the same word that the context has everywhere else.

// What `event_derive` writes names this crate from outside and from inside alike.
extern crate self as domain;

pub mod access;
pub mod administrators;
pub mod aggregate;
pub mod aggregate_cache;
pub mod audit;
pub mod authz;
pub mod bounded;
pub mod clock;
pub mod command;
pub mod datasets;
pub mod decision;
pub mod event_registry;
pub mod event_store;
pub mod execute;
pub mod expectation;
mod folded;
pub mod id;
pub mod identity;
pub mod inference;
pub mod jobs;
mod kept;
mod loading;
pub mod models;
pub mod notifications;
pub mod personal;
mod predicted;
pub mod problems;
pub mod projects;
pub mod provider_keys;
pub mod quota;
mod read_set;
pub mod recording;
pub mod request;
pub mod rights;
pub mod shared;
pub mod shared_set;
pub mod sharing;
pub mod text;
mod unseen;
pub mod upcast;
pub mod write_queue;

pub use ::payload;
