//! The process that trains: how it is started, heard and ended.
//!
//! One rule: it knows nothing of jobs, reports and leases; what its messages mean is decided in `attempt`.

pub(crate) mod environment;
pub(crate) mod lines;
pub(crate) mod output;
pub(crate) mod process;
