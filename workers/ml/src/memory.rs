//! Estimates the memory that a training needs and compares it with what is available.
//!
//! Rule: the estimate is a lower bound. It rejects what cannot fit before hours are spent; a training that passes may
//! still be killed by the system, which the parent sees as signal 9.

use crate::{
    device::{Device, gpu_monitor::GpuMonitor, probe},
    failure::{Failure, FailureCode},
    model::config::ModelConfig,
    process_memory,
    spec::{Hyperparameters, Precision},
};

/// Bytes of a trained parameter.
const NUMBER: u64 = 4;

/// Minimum memory in bytes: for the `trained` parameters with their gradients and the optimizer's two moments, their
/// best state where it is kept, the `frozen` parameters, and the activations of one micro-batch.
#[must_use]
pub fn required_bytes(
    config: &ModelConfig,
    trained: u64,
    frozen: u64,
    hyperparameters: &Hyperparameters,
) -> u64 {
    let [width, feed, heads, layers] = [
        config.width(),
        config.feed_forward_width(),
        config.heads(),
        config.layers(),
    ]
    .map(|size| size as u64);
    let [queries, keys] =
        [config.heads(), config.key_heads()].map(|heads| (heads * config.head_size()) as u64);
    let length = u64::from(hyperparameters.sequence_length);
    let rows = u64::from(hyperparameters.batch_size);
    // Elements per token of a block: inputs and outputs of two norms, queries, keys and values, the output of
    // attention, the input, gate and output of the feed-forward layer, and the attention weights.
    let of_token = 4 * width + 2 * queries + 2 * keys + 3 * feed + heads * length;
    let of_block = rows * length * of_token;
    let best = if hyperparameters.keep_best { trained } else { 0 };
    // Bytes of frozen parameters and activations.
    let passing = match hyperparameters.precision {
        Precision::F32 => 4,
        Precision::Bf16 => 2,
    };
    NUMBER * (4 * trained + best) + passing * (frozen + layers * of_block)
}

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
    use crate::{model::config::Gpt2Config, spec::Architecture};

    #[test]
    fn a_training_that_cannot_fit_is_refused_with_what_to_lower() {
        let shape = Architecture {
            layers: 48,
            heads: 32,
            width: 2048,
            context: 4096,
            vocab_size: 65_536,
        };
        let config = Gpt2Config::of(&shape, 65_536, None).into();
        let hyperparameters = Hyperparameters {
            batch_size: 1024,
            sequence_length: 4096,
            ..Hyperparameters::default()
        };
        let needed = required_bytes(&config, 2_500_000_000, 0, &hyperparameters);
        let failure = check_fits(needed, 1 << 40).expect_err("refused");
        assert_eq!(failure.code, FailureCode::OutOfMemory);
        assert!(failure.message.contains("batch_size"), "{failure}");
        assert_eq!(check_fits(needed, needed), Ok(()));
    }

    /// WK-1: trained parameters keep their size, everything else is halved.
    #[test]
    fn bfloat16_halves_what_is_frozen_and_what_passes() {
        let shape = Architecture {
            layers: 2,
            heads: 2,
            width: 64,
            context: 64,
            vocab_size: 300,
        };
        let config = Gpt2Config::of(&shape, 300, None).into();
        let of = |precision, trained, frozen| {
            let hyperparameters = Hyperparameters {
                precision,
                sequence_length: 64,
                ..Hyperparameters::default()
            };
            required_bytes(&config, trained, frozen, &hyperparameters)
        };
        let full = of(Precision::F32, 0, 1000);
        assert_eq!(of(Precision::Bf16, 0, 1000), full / 2);
        let trained = of(Precision::F32, 10, 1000) - full;
        assert_eq!(of(Precision::Bf16, 10, 1000) - full / 2, trained);
    }
}
