//! Datasets and their versions, as read.

pub mod dataset;
pub mod version;
