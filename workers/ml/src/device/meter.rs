//! What a device is doing, as `nvidia-smi` tells it, through NVIDIA's management library (NVML) (JB-5).
//!
//! Rule: a help for people. Where the library is missing or does not answer, there are no figures, and nothing
//! else changes.

use nvml_wrapper::Nvml;
use serde::{Deserialize, Serialize};

/// What a device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Share of the last moments in which it computed, in percent.
    pub busy_percent: u32,
    /// Bytes of its memory in use, by all processes.
    pub memory_bytes: u64,
    /// All of its memory.
    pub memory_total_bytes: u64,
    /// Degrees Celsius; `None` where it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<u32>,
    /// Milliwatts; `None` where it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliwatts: Option<u32>,
}

/// Reads one device.
pub struct Meter {
    nvml: Nvml,
    bus_id: String,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Meter")
            .field("bus_id", &self.bus_id)
            .finish_non_exhaustive()
    }
}

impl Meter {
    /// A meter of the device that is plugged in at `bus_id`; `None` where there is no such library.
    #[must_use]
    pub fn of(bus_id: &str) -> Option<Self> {
        Some(Self {
            nvml: Nvml::init().ok()?,
            bus_id: bus_id.to_owned(),
        })
    }

    /// What it is doing now; `None` where it does not tell.
    #[must_use]
    pub fn read(&self) -> Option<Reading> {
        let device = self.nvml.device_by_pci_bus_id(self.bus_id.as_str()).ok()?;
        let memory = device.memory_info().ok()?;
        Some(Reading {
            busy_percent: device.utilization_rates().ok()?.gpu,
            memory_bytes: memory.used,
            memory_total_bytes: memory.total,
            celsius: device
                .temperature(nvml_wrapper::enum_wrappers::device::TemperatureSensor::Gpu)
                .ok(),
            milliwatts: device.power_usage().ok(),
        })
    }
}
