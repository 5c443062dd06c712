//! Training.
//!
//! Rule: everything that determines the next step is in the checkpoint or follows from (specification, data, step);
//! stopping and resuming at any step changes no bit of the result.

pub mod checkpoint;
pub mod loss;
pub mod optimizer;
pub mod progress;
pub mod schedule;
pub mod session;
pub mod trainable;

pub use self::{
    progress::{Evaluation, Progress},
    session::{Session, StepReport},
};
