//! The devices of a machine.

use serde::{Deserialize, Serialize};

use super::{
    identifier::HAS_CUDA,
    probe::{CudaFound, CudaUnavailable, probe},
};

/// The devices of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// CPU cores that are available to this process.
    pub cores: usize,
    /// Whether this build supports CUDA.
    pub built_with_cuda: bool,
    /// The CUDA installation, or why there is none.
    pub cuda: Result<CudaFound, CudaUnavailable>,
}

/// Examines the machine; see [`probe`] for the process to do that in.
#[must_use]
pub fn survey() -> DeviceReport {
    DeviceReport {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        built_with_cuda: HAS_CUDA,
        cuda: probe(),
    }
}
