//! Leases: which worker is alive with which attempt at a job.
//!
//! One rule: a lease says who is alive, never who may write. Its clock is the database's.

pub mod expiry;
pub(crate) mod heartbeat;
pub mod queue;
