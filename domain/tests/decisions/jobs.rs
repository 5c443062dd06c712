//! Training jobs: started and cancelled by people, worked on by workers.

mod control;
mod fleet;
mod properties;
mod reports;
mod scene;
mod start;
mod workers;
