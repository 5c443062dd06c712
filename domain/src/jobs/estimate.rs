//! How much memory and time a training is likely to take (JB-1).
//!
//! One rule: what cannot be known is `None`, never a guess. Memory is estimated with the specification
//! ([`training_spec::memory`]). Time is what similar trainings took.

pub use training_spec::memory::{Needs, needs};

use super::spec::TrainingSpec;

/// A run is similar when its model is at most so many times larger or smaller.
const SIMILAR: f64 = 4.0;
/// Runs that an estimate looks at, the newest first.
const RUNS: usize = 20;

/// Tokens that `spec` trains on, over all its steps; `None` where it counts epochs, whose length shows when the
/// data is read.
#[must_use]
pub fn tokens(spec: &TrainingSpec) -> Option<u64> {
    let chosen = &spec.parameters;
    let factors = [
        chosen.steps,
        chosen.batch_size,
        chosen.gradient_accumulation,
        chosen.sequence_length,
    ];
    let product = |product: u64, factor: u32| product.saturating_mul(factor.into());
    chosen
        .epochs
        .is_none()
        .then(|| factors.into_iter().fold(1, product))
}

/// A training that came to its end, by the same method as the one that is estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Numbers in the model that was computed.
    pub parameters: u64,
    /// Tokens per second, over the whole run.
    pub tokens_per_second: f64,
    /// What it ran on: `cpu` or `cuda`.
    pub device: String,
}

/// How long a training is likely to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Duration {
    /// Seconds.
    pub seconds: f64,
    /// On this kind of device.
    pub device: String,
    /// From so many similar runs.
    pub runs: usize,
}

/// How long a training of `tokens` on a model of `parameters` numbers takes on `device`, by `runs`, the newest
/// first. The work per token grows with the model (Kaplan et al., 2020, arXiv:2001.08361), so speeds are
/// compared per number; the median counts. `None` without a similar run.
#[must_use]
pub fn duration(tokens: u64, parameters: u64, device: &str, runs: &[Run]) -> Option<Duration> {
    let size = parameters.max(1) as f64;
    let similar = |run: &&Run| {
        let ratio = run.parameters.max(1) as f64 / size;
        run.device == device
            && run.tokens_per_second > 0.0
            && run.tokens_per_second.is_finite()
            && (1.0 / SIMILAR..=SIMILAR).contains(&ratio)
    };
    let mut speeds: Vec<f64> = runs
        .iter()
        .filter(similar)
        .take(RUNS)
        .map(|run| run.tokens_per_second * run.parameters.max(1) as f64 / size)
        .collect();
    speeds.sort_unstable_by(f64::total_cmp);
    let speed = *speeds.get(speeds.len() / 2)?;
    Some(Duration {
        seconds: tokens as f64 / speed,
        device: device.to_owned(),
        runs: speeds.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Run, duration, tokens};
    use crate::jobs::spec::{HyperParameters, Method, Objective, Outputs, TrainingSpec};

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let huge = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Full,
            objective: Objective::default(),
            parameters: HyperParameters {
                steps: u32::MAX,
                batch_size: u32::MAX,
                gradient_accumulation: u32::MAX,
                sequence_length: u32::MAX,
                ..HyperParameters::default()
            },
        };
        assert_eq!(tokens(&huge), Some(u64::MAX));
    }

    fn run(parameters: u64, tokens_per_second: f64, device: &str) -> Run {
        Run {
            parameters,
            tokens_per_second,
            device: device.to_owned(),
        }
    }

    /// JB-1: unknown when there is none like it.
    #[test]
    fn time_comes_from_similar_runs_on_the_same_kind_of_device() {
        let runs = [
            run(1_000, 50.0, "cpu"),
            run(2_000, 50.0, "cpu"),
            run(1_000, 70.0, "cpu"),
            run(1_000, 9_000.0, "cuda"),
            run(100_000, 1.0, "cpu"),
            run(1_000, f64::NAN, "cpu"),
        ];
        let found = duration(7_000, 1_000, "cpu", &runs).expect("three are similar");
        assert_eq!((found.runs, found.seconds), (3, 100.0));
        assert_eq!(duration(7_000, 1_000, "tpu", &runs), None);
        assert_eq!(duration(7_000, 10, "cpu", &runs), None);
    }
}
