//! What a training computes on: the processor, or an NVIDIA device (WK-1).
//!
//! Rule: nothing here touches a device before [`probe`] has found driver, compiler and headers in order, for
//! the tensor library panics, or ends the process, where one of them is missing.

mod check;
#[cfg(feature = "cuda")]
pub mod cuda;
mod driver;
pub mod meter;
mod probe;
pub mod self_test;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[cfg(not(feature = "cuda"))]
use crate::failure::{Failure, FailureCode};

pub use self::{
    check::{Checked, Survey, check, survey},
    driver::Version,
    probe::{CudaDevice, CudaFound, NoCuda, probe},
};

/// Whether this build can compute with CUDA.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// What a training computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor: `cpu`.
    #[default]
    Cpu,
    /// An NVIDIA device: `cuda:0`, numbered as the driver numbers what `CUDA_VISIBLE_DEVICES` lets it see.
    Cuda {
        /// Its number.
        index: u32,
    },
}

impl Device {
    /// `cpu` or `cuda`; the label of workers that compute on it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda { .. } => "cuda",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(to, "cpu"),
            Self::Cuda { index } => write!(to, "cuda:{index}"),
        }
    }
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no device; say cpu, or cuda: with the number of the device, such as cuda:0")]
pub struct NoDevice(String);

impl FromStr for Device {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Self, NoDevice> {
        let index = || text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda { index: 0 }),
            _ => index()
                .map(|index| Self::Cuda { index })
                .ok_or_else(|| NoDevice(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = NoDevice;

    fn try_from(text: String) -> Result<Self, NoDevice> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// The failure of what asks for `device` of a build that cannot compute on it.
#[cfg(not(feature = "cuda"))]
pub(crate) fn not_built(device: Device) -> Failure {
    Failure::new(
        FailureCode::DeviceUnavailable,
        format!(
            "this build has no CUDA and cannot compute on {device}; build it with --features cuda (workers/ml/GPU.md)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::Device;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for device in [Device::Cpu, Device::Cuda { index: 0 }, Device::Cuda { index: 7 }] {
            assert_eq!(device.to_string().parse(), Ok(device));
            let json = serde_json::to_string(&device).expect("JSON");
            assert_eq!(serde_json::from_str::<Device>(&json).ok(), Some(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda { index: 0 }));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            let error = text.parse::<Device>().expect_err(text);
            assert!(error.to_string().contains("cuda:0"), "{error}");
        }
    }
}
