//! Models and their versions, as read.

pub mod model;
pub mod version;
