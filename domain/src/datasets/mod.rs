//! Datasets and their immutable, content-addressed versions.

pub mod dataset;
pub mod format;
pub mod upload;
