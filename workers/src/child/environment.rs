//! What a process that a worker starts knows of the worker's environment.
//!
//! One rule: nothing is passed on that is not named here, and nothing named here is secret.

use std::ffi::OsString;

/// What of the worker's environment the child gets; nothing in it is secret.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    // Where NVIDIA's libraries and headers are, and which devices are ours.
    "LD_LIBRARY_PATH",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    #[cfg(feature = "fail-points")]
    "ANNEAL_FAIL_POINTS",
    #[cfg(feature = "fail-points")]
    "ANNEAL_FAIL_POINTS_REACHED",
];

/// The variables of this process's environment that its children get.
pub(crate) fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    ENVIRONMENT
        .iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (*name, value)))
}
