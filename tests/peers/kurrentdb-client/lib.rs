//! Nothing but tests: see `tests/witness.rs`.
