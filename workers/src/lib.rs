//! Workers: they take queued jobs, train in a process of its own, and report what happens.
//!
//! One rule: safety is the attempt's number in the log, liveness is the lease in [`queue`]. A worker that
//! stalls, comes back or runs twice can waste time, but it can record nothing that is not its own to record
//! (JB-4).
//!
//! ```text
//! devices (which of them compute rightly)
//!   │
//! presence (declares, beats, hears that it shall go)
//!   │
//! worker ──► run ──► prepare (folders, inputs, resume) ──► child process
//!   ▲         │                                             │ lines
//! queue ◄── heart                        reporter ◄── conversation ──► artifact
//!   ▲
//! reaper
//! ```

pub mod devices;
mod environment;
mod folders;
pub mod lease_expiry;
mod lease_heartbeat;
mod outcome;
mod presence;
pub mod queue;
pub mod reaper;
mod run;
mod settings;
mod worker;
mod worker_heartbeat;

pub use run::artifact::folder_sha256;
pub use settings::{WorkerParts, WorkerSettings, kernels};
pub use worker::{Worker, WorkerHandle};
