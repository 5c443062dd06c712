//! CUDA devices.
//!
//! Rule: a process uses one device and opens it once; [`open`] uses burn only after [`super::probe`] has succeeded.

use std::path::Path;

use burn::backend::cuda::CudaDevice as Handle;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig};

use super::{
    identifier::Device,
    probe::{CudaDevice, probe},
};
use crate::failure::{Failure, FailureCode};

/// The backend, with 32-bit floats by default.
pub type Cuda = burn::backend::Cuda<f32, i32>;

/// The same backend with automatic differentiation.
pub type DifferentiableCuda = burn::backend::Autodiff<Cuda>;

/// Opens device `index`. Compiled kernels and the results of autotuning are cached in `kernels` for later processes;
/// without it each process compiles and tunes again, which takes minutes.
///
/// # Errors
/// [`FailureCode::DeviceUnavailable`] with what is missing.
///
/// # Panics
/// When the process has already opened a device.
pub fn open(index: u32, kernels: Option<&Path>) -> Result<(CudaDevice, Handle), Failure> {
    let unavailable = |reason: String| Failure::new(FailureCode::DeviceUnavailable, reason);
    let found = probe().map_err(|error| unavailable(error.to_string()))?;
    let count = found.devices.len();
    let device = found.devices.into_iter().find(|device| device.index == index);
    let device = device.ok_or_else(|| {
        let device = Device::Cuda { index };
        unavailable(format!(
            "{device} does not exist: the driver shows {count} devices, numbered from 0; check CUDA_VISIBLE_DEVICES"
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
