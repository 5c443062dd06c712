//! Jobs of all kinds: what is asked for, who works on it, how far it is, how it ended.

pub mod checkpoint;
pub mod control;
pub mod copy;
pub mod estimate;
pub mod event;
pub mod import;
pub mod job;
pub mod kind;
pub mod lease;
pub mod progress;
pub mod report;
pub mod requirements;
pub mod schedule;
pub mod start;
pub mod training;
pub mod worker;

/// What a job is asked to do: the specification that the training engine is given too.
pub use training_spec as spec;
pub use training_spec::shape;
