//! Names of devices in job files, settings and messages.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[cfg(not(feature = "cuda"))]
use crate::failure::{Failure, FailureCode};

/// Whether this build supports CUDA.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// A device to train on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The CPU: `cpu`.
    #[default]
    Cpu,
    /// An NVIDIA GPU: `cuda:0`, numbered by the driver among those that `CUDA_VISIBLE_DEVICES` makes visible.
    Cuda {
        /// Index of the device.
        index: u32,
    },
}

impl Device {
    /// `cpu` or `cuda`, the label of workers on such a device.
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

/// A string that is not a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a device; use cpu, or cuda: with the index of the device, such as cuda:0")]
pub struct ParseDeviceError(String);

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        let index = || text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda { index: 0 }),
            _ => index()
                .map(|index| Self::Cuda { index })
                .ok_or_else(|| ParseDeviceError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = ParseDeviceError;

    fn try_from(text: String) -> Result<Self, ParseDeviceError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// The failure of a job for `device` in a build without CUDA.
#[cfg(not(feature = "cuda"))]
pub(crate) fn not_built(device: Device) -> Failure {
    Failure::new(
        FailureCode::DeviceUnavailable,
        format!(
            "this build does not support CUDA and cannot use {device}; build it with --features cuda (workers/ml/GPU.md)"
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
