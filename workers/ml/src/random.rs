//! All random numbers of a training, from one seed.
//!
//! Rule: a stream is a pure function of (seed, purpose, step, micro-batch), never of what was drawn before. A resumed
//! run therefore draws the same numbers as an uninterrupted one, and several trainings can share a process (burn's
//! own generator is global to the process, so it is not used).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Purpose of a stream of random numbers; different purposes have independent streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initialisation of parameters.
    Initialisation,
    /// Which conversations are held out for evaluation.
    Split,
    /// Which windows of the corpus are in a batch.
    Batch,
    /// Dropout masks.
    Dropout,
    /// Sampling of tokens.
    Sampling,
    /// Order of the rows in an epoch.
    Order,
    /// Which of several samples of equal length share a row.
    Packing,
}

/// The stream for `purpose` at (`step`, `micro`).
#[must_use]
pub fn stream(seed: u64, purpose: Purpose, step: u64, micro: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, part) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, micro]) {
        slot.copy_from_slice(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// `count` numbers from the normal distribution N(0, `deviation`²), by the Box-Muller transform.
pub fn normal(rng: &mut impl Rng, count: usize, deviation: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u is in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * deviation;
        let (sine, cosine) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.push((radius * cosine) as f32);
        values.push((radius * sine) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_exactly_and_differ_by_purpose_step_and_micro_batch() {
        let draw = |seed, purpose, step, micro| stream(seed, purpose, step, micro).random::<u64>();
        let first = draw(1, Purpose::Batch, 2, 3);
        assert_eq!(first, draw(1, Purpose::Batch, 2, 3));
        for other in [
            draw(2, Purpose::Batch, 2, 3),
            draw(1, Purpose::Dropout, 2, 3),
            draw(1, Purpose::Batch, 3, 2),
            draw(1, Purpose::Batch, 2, 4),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn normal_numbers_have_the_asked_mean_and_deviation() {
        let values = normal(&mut stream(7, Purpose::Initialisation, 0, 0), 20_001, 0.5);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance =
            values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert_eq!(values.len(), 20_001);
        assert!(mean.abs() < 0.015, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{variance}");
    }
}
