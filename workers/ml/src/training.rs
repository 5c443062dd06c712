//! Training: from a prepared [`Session`] to a finished artefact.
//!
//! Rule: everything that decides the next step is in the checkpoint or follows from (specification, data,
//! step); stopping and resuming at any step boundary changes no bit of the result.

pub mod checkpoint;
pub mod loss;
pub mod optimizer;
pub mod run;
pub mod schedule;
pub mod session;
pub mod task;

pub use run::{Outcome, Watcher, run};
pub use session::{Evaluation, Session, StepReport};
