//! Compares the memory that a training needs at least with what is available.
//!
//! Rule: what cannot fit is rejected before hours are spent. The estimate ([`crate::spec::memory`]) is from below, so a
//! training that passes may still be killed by the system, which the parent sees as signal 9.

use crate::{
    device::{Device, gpu_monitor::GpuMonitor, probe},
    failure::{Failure, FailureCode},
    process_memory,
};

/// Rejects a training that needs more than `available` bytes.
///
/// # Errors
/// [`FailureCode::OutOfMemory`].
pub fn check_fits(needed: u64, available: u64) -> Result<(), Failure> {
    if needed <= available {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    Err(Failure::new(
        FailureCode::OutOfMemory,
        format!(
            "the training needs at least {} MiB of memory and {} MiB are free; lower batch_size (and raise \
             gradient_accumulation instead), sequence_length or the model's size",
            mebibytes(needed),
            mebibytes(available)
        ),
    ))
}

/// Memory that `device` has available, in bytes: of the system for the CPU, its own for a GPU, or all of it where the
/// free part is not reported. `None` where nothing is reported.
#[must_use]
pub fn available_bytes(device: Device) -> Option<u64> {
    match device {
        Device::Cpu => process_memory::system_available_bytes(),
        Device::Cuda { index } => {
            let found = probe()
                .ok()?
                .devices
                .into_iter()
                .find(|found| found.index == index)?;
            let reading = GpuMonitor::new(&found.bus_id).and_then(|gpu_monitor| gpu_monitor.read());
            Some(reading.map_or(found.memory_bytes, |reading| {
                reading.memory_total_bytes.saturating_sub(reading.memory_bytes)
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{
        Architecture, HyperParameters, Method, Objective, Outputs, TrainingSpec, memory::needs,
    };

    #[test]
    fn a_training_that_cannot_fit_is_refused_with_what_to_lower() {
        let spec = TrainingSpec {
            method: Method::Scratch(Architecture {
                layers: 48,
                heads: 32,
                width: 2048,
                context: 4096,
                vocabulary: 65_536,
            }),
            objective: Objective::default(),
            parameters: HyperParameters {
                batch_size: 1024,
                sequence_length: 4096,
                ..HyperParameters::default()
            },
            outputs: Outputs::default(),
        };
        let needed = needs(&spec, None).expect("known").memory_bytes;
        let failure = check_fits(needed, 1 << 40).expect_err("refused");
        assert_eq!(failure.code, FailureCode::OutOfMemory);
        assert!(failure.message.contains("batch_size"), "{failure}");
        assert_eq!(check_fits(needed, needed), Ok(()));
    }
}
