//! The only module of the crate that contains `unsafe` code.
//!
//! Rule: every function here is safe to call with any arguments, checks its own preconditions, and states in a
//! `SAFETY` comment why each `unsafe` block is sound. `tests/it/architecture.rs` enforces that no other source file
//! of the workspace uses `unsafe`.

pub(crate) mod cuda;
pub(crate) mod gemm;
pub(crate) mod prefetch;
