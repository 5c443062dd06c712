//! Adapters of the event log port ([`domain::event_store::EventStore`]) and the proof of its integrity.
//!
//! One rule governs this crate: an adapter promises exactly what the port promises. Nothing outside it may
//! depend on which adapter runs; the contract suite `tests/it/event_store.rs` is the same for each.

pub mod integrity;
pub mod kurrentdb;
pub mod memory;
pub mod postgres;
mod prepared;
pub mod sealing;
