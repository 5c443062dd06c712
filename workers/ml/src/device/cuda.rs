//! Computing with CUDA.
//!
//! Rule: a process computes on one device, and opens it once; [`open`] touches the tensor library only when
//! [`super::probe`] has found all in order.

use std::path::Path;

use burn::backend::cuda::CudaDevice as Handle;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig};

use super::{CudaDevice, Device, probe};
use crate::failure::{Failure, FailureCode};

/// The backend that computes, in 32-bit floats where it is not told otherwise.
pub type Cuda = burn::backend::Cuda<f32, i32>;

/// The backend that also differentiates.
pub type DifferentiableCuda = burn::backend::Autodiff<Cuda>;

/// The device `index`. Kernels that were compiled, and which of several were found fastest for a shape, are kept
/// in `kernels`, so that the next process starts with them; without it each process finds them anew, which takes
/// minutes.
///
/// # Errors
/// [`FailureCode::DeviceUnavailable`] with what is missing.
///
/// # Panics
/// When the process has opened a device before.
pub fn open(index: u32, kernels: Option<&Path>) -> Result<(CudaDevice, Handle), Failure> {
    let unavailable = |reason: String| Failure::new(FailureCode::DeviceUnavailable, reason);
    let found = probe().map_err(|error| unavailable(error.to_string()))?;
    let count = found.devices.len();
    let device = found.devices.into_iter().find(|device| device.index == index);
    let device = device.ok_or_else(|| {
        let device = Device::Cuda { index };
        unavailable(format!(
            "there is no {device}: the driver shows {count} devices, numbered from 0; look at CUDA_VISIBLE_DEVICES"
        ))
    })?;
    let mut config = CubeClRuntimeConfig::default().override_from_env();
    if let Some(kernels) = kernels {
        config.autotune.cache = CacheConfig::File(kernels.join("choices"));
        config.compilation.cache = Some(CacheConfig::File(kernels.join("compiled")));
    }
    CubeClRuntimeConfig::set(config);
    Ok((device, Handle::new(index as usize)))
}
