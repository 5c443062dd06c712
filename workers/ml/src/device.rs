//! The devices that trainings run on: the CPU or an NVIDIA GPU (WK-1).
//!
//! Rule: no device is opened before [`probe`] has found a working driver, compiler and headers, because burn panics or
//! aborts the process where one of them is missing.

#[cfg(feature = "cuda")]
pub mod cuda;
pub mod gpu_monitor;
mod identifier;
mod probe;
mod report;
mod version;

#[cfg(not(feature = "cuda"))]
pub(crate) use self::identifier::not_built;
pub use self::{
    identifier::{Device, HAS_CUDA, ParseDeviceError},
    probe::{CudaDevice, CudaFound, CudaUnavailable, probe},
    report::{DeviceReport, survey},
    version::Version,
};
