//! Registration: what a worker declares about itself, and that it is still there (WK-1, WK-2).
//!
//! One rule: no job waits for any of it but the self-test of a device; what cannot be written now is written later.

pub mod devices;
pub(crate) mod heartbeat;
pub(crate) mod presence;
