//! How much memory a training needs, and whether it is there.
//!
//! Rule: an estimate from below. It refuses what cannot fit, before hours are spent; what it lets pass may
//! still be killed by the system, which the parent sees as signal 9.

use crate::{
    device::{Device, meter::Meter, probe},
    failure::{Failure, FailureCode},
    model::config::ModelConfig,
    spec::{Hyperparameters, Precision},
};

/// Bytes of a number that is trained.
const NUMBER: u64 = 4;

/// Bytes that training needs at least: `trained` of the model's numbers with their gradients and the
/// optimiser's two, their best state where it is kept, the frozen ones, and what one micro-batch keeps for its gradients.
#[must_use]
pub fn needed(config: &ModelConfig, trained: u64, frozen: u64, chosen: &Hyperparameters) -> u64 {
    let [width, feed, heads, layers] = [
        config.width(),
        config.feed_width(),
        config.heads(),
        config.layers(),
    ]
    .map(|size| size as u64);
    let [queries, keys] =
        [config.heads(), config.key_heads()].map(|heads| (heads * config.head_size()) as u64);
    let length = u64::from(chosen.sequence_length);
    let rows = u64::from(chosen.batch_size);
    // Of a block: two norms with input and output, queries, keys and values, attention's output, the
    // feed-forward layer's input, gate and output; and attention's weights.
    let of_token = 4 * width + 2 * queries + 2 * keys + 3 * feed + heads * length;
    let of_block = rows * length * of_token;
    let best = if chosen.keep_best { trained } else { 0 };
    // What is frozen, and what passes through the network.
    let passing = match chosen.precision {
        Precision::F32 => 4,
        Precision::Bf16 => 2,
    };
    NUMBER * (4 * trained + best) + passing * (frozen + layers * of_block)
}

/// Refuses a training that needs more than `available` bytes.
///
/// # Errors
/// [`FailureCode::OutOfMemory`].
pub fn check(needed: u64, available: u64) -> Result<(), Failure> {
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

/// Bytes that `device` could still give: the system's memory for the processor, its own for a GPU, all of it where it
/// does not tell what is free. `None` where nothing is told.
#[must_use]
pub fn available(device: Device) -> Option<u64> {
    match device {
        Device::Cpu => kilobytes("/proc/meminfo", "MemAvailable:"),
        Device::Cuda { index } => {
            let found = probe()
                .ok()?
                .devices
                .into_iter()
                .find(|found| found.index == index)?;
            let reading = Meter::of(&found.bus_id).and_then(|meter| meter.read());
            Some(reading.map_or(found.memory_bytes, |reading| {
                reading.memory_total_bytes.saturating_sub(reading.memory_bytes)
            }))
        }
    }
}

/// Bytes this process holds in memory; `None` where the system does not tell.
#[must_use]
pub fn resident() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

fn kilobytes(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
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
        let chosen = Hyperparameters {
            batch_size: 1024,
            sequence_length: 4096,
            ..Hyperparameters::default()
        };
        let needed = needed(&config, 2_500_000_000, 0, &chosen);
        let failure = check(needed, 1 << 40).expect_err("refused");
        assert_eq!(failure.code, FailureCode::OutOfMemory);
        assert!(failure.message.contains("batch_size"), "{failure}");
        assert_eq!(check(needed, needed), Ok(()));
    }

    /// WK-1: what is trained keeps its size, all else halves.
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
            let chosen = Hyperparameters {
                precision,
                sequence_length: 64,
                ..Hyperparameters::default()
            };
            needed(&config, trained, frozen, &chosen)
        };
        let full = of(Precision::F32, 0, 1000);
        assert_eq!(of(Precision::Bf16, 0, 1000), full / 2);
        let trained = of(Precision::F32, 10, 1000) - full;
        assert_eq!(of(Precision::Bf16, 10, 1000) - full / 2, trained);
    }
}
