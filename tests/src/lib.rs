//! Integration tests: the harness they share. The tests themselves are in `it/`, benchmarks in `benches/`.

pub mod drill;
pub mod harness;
pub mod load;
pub mod simulation;
