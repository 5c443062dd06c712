//! Jobs: started and cancelled by people, worked on by workers.

mod checkpoints;
pub(crate) mod control;
mod fleet;
mod gpu_hours;
mod imports;
mod outputs;
mod properties;
mod queue;
mod reports;
pub(crate) mod scenario;
mod start;
mod workers;
