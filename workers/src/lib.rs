//! Workers: they take queued jobs, train in a process of its own or import, and report what happens. Beside them the
//! [`reactors`]: what follows from events.
//!
//! One rule: safety is the attempt's number in the log, liveness is the [`lease`]. A worker that
//! stalls, comes back or runs twice can waste time, but it can record nothing that is not its own to record
//! (JB-4).
//!
//! ```text
//! registration (declares the worker and its devices, beats, hears that it shall go)
//!   │
//! worker ──► attempt ──► prepare (folders, inputs, resume) ──► child process
//!   ▲           │                                               │ lines
//! lease ◄── heartbeat       reporter ◄── child_protocol ◄───────┘
//!   ▲           │                            └──► artifact
//! reaper         └──► importing ──► plan, copy (a task that streams files into the object store)
//! ```

mod attempt;
mod child;
mod folders;
pub mod import;
pub mod lease;
pub mod notifications;
pub mod reactors;
pub mod reaper;
pub mod registration;
mod settings;
mod worker;

pub use attempt::artifact::folder_sha256;
pub use settings::{WorkerParts, WorkerSettings, kernels};
pub use worker::{Worker, WorkerHandle, WorkerLiveness};
