//! Jobs and workers, as read.

pub mod job;
pub mod queue;
pub mod runs;
pub mod usage;
pub mod worker;
