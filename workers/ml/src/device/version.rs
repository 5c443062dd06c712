//! Versions of CUDA and compute capabilities of devices.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of CUDA, or the compute capability of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Major number, before the dot.
    pub major: u32,
    /// Minor number, after the dot.
    pub minor: u32,
}

impl From<[u32; 2]> for Version {
    fn from([major, minor]: [u32; 2]) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}.{}", self.major, self.minor)
    }
}
