//! Projects, their members, and the experiments in them.

pub mod experiment;
pub mod project;
