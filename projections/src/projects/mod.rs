//! Projects and experiments, as read.

pub mod experiment;
pub mod project;
