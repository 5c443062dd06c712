//! Learning rate schedules.
//!
//! Rule: the learning rate is a pure function of the step, so there is no state to save.

use crate::spec::{HyperParameters, Schedule, Steps};

/// The learning rate of `step` (counted from 0) of `steps`.
///
/// It rises linearly during the warm-up and reaches its peak at the last warm-up step. Falling schedules reach their
/// minimum one step after the last.
#[must_use]
pub fn learning_rate(hyperparameters: &HyperParameters, steps: Steps, step: u32) -> f64 {
    if step < steps.warmup {
        return hyperparameters.learning_rate * f64::from(step + 1) / f64::from(steps.warmup);
    }
    let rest = f64::from((steps.total - steps.warmup).max(1));
    let done = f64::from(step - steps.warmup) / rest;
    let falling = match hyperparameters.schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        Schedule::Linear => 1.0 - done,
    };
    let minimum = hyperparameters.minimum_share;
    hyperparameters.learning_rate * (falling * (1.0 - minimum) + minimum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn above(minimum_share: f64, schedule: Schedule, step: u32) -> f64 {
        let hyperparameters = HyperParameters {
            schedule,
            learning_rate: 1.0,
            minimum_share,
            ..HyperParameters::default()
        };
        learning_rate(&hyperparameters, Steps { total: 14, warmup: 4 }, step)
    }

    fn at(schedule: Schedule, step: u32) -> f64 {
        above(0.0, schedule, step)
    }

    #[test]
    fn it_warms_up_to_the_whole_rate_and_then_follows_the_schedule() {
        for schedule in [Schedule::Constant, Schedule::Cosine, Schedule::Linear] {
            assert_eq!(
                [at(schedule, 0), at(schedule, 3), at(schedule, 4)],
                [0.25, 1.0, 1.0]
            );
        }
        assert_eq!(at(Schedule::Constant, 13), 1.0);
        assert!((at(Schedule::Cosine, 9) - 0.5).abs() < 1e-12);
        assert!((at(Schedule::Linear, 13) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn it_falls_to_the_chosen_minimum_and_no_further() {
        for schedule in [Schedule::Cosine, Schedule::Linear] {
            assert_eq!([above(0.2, schedule, 0), above(0.2, schedule, 4)], [0.25, 1.0]);
            assert!((above(0.2, schedule, 9) - 0.6).abs() < 1e-12);
            assert!((above(0.2, schedule, 14) - 0.2).abs() < 1e-12);
        }
        assert_eq!(above(0.2, Schedule::Constant, 13), 1.0);
    }
}
