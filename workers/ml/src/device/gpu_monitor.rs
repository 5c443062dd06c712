//! Utilisation of a GPU, from NVIDIA's management library (NVML), as `nvidia-smi` shows it (JB-5).
//!
//! Rule: the figures are informational. Where the library is missing or fails, there are none, and nothing else
//! changes.

use nvml_wrapper::Nvml;
use serde::{Deserialize, Serialize};

/// Utilisation of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuUsage {
    /// Share of the last sample period in which it was busy, in percent.
    pub busy_percent: u32,
    /// Memory in use by all processes, in bytes.
    pub memory_bytes: u64,
    /// Total memory in bytes.
    pub memory_total_bytes: u64,
    /// Temperature in degrees Celsius; `None` where it is not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<u32>,
    /// Power draw in milliwatts; `None` where it is not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliwatts: Option<u32>,
}

/// Reads the utilisation of one GPU.
pub struct GpuMonitor {
    nvml: Nvml,
    bus_id: String,
}

impl std::fmt::Debug for GpuMonitor {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Meter")
            .field("bus_id", &self.bus_id)
            .finish_non_exhaustive()
    }
}

impl GpuMonitor {
    /// A monitor of the GPU with the PCI address `bus_id`; `None` where NVML is not installed.
    #[must_use]
    pub fn new(bus_id: &str) -> Option<Self> {
        Some(Self {
            nvml: Nvml::init().ok()?,
            bus_id: bus_id.to_owned(),
        })
    }

    /// The current utilisation; `None` where it is not reported.
    #[must_use]
    pub fn read(&self) -> Option<GpuUsage> {
        let device = self.nvml.device_by_pci_bus_id(self.bus_id.as_str()).ok()?;
        let memory = device.memory_info().ok()?;
        Some(GpuUsage {
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
