//! Models: base models and what training makes of them, in immutable versions with their lineage.

pub mod model;
