//! The learning rate of each step.
//!
//! Rule: a pure function of the step, so there is nothing to save and nothing to restore.

use crate::spec::{Hyperparameters, Schedule};

/// The learning rate of `step` (counted from 0).
///
/// It rises linearly over the warm-up, reaching the whole rate at its last step, then follows the schedule
/// and would be 0 at the step after the last for those that fall.
#[must_use]
pub fn learning_rate(chosen: &Hyperparameters, step: u32) -> f64 {
    if step < chosen.warmup_steps {
        return chosen.learning_rate * f64::from(step + 1) / f64::from(chosen.warmup_steps);
    }
    let rest = f64::from((chosen.steps - chosen.warmup_steps).max(1));
    let done = f64::from(step - chosen.warmup_steps) / rest;
    let factor = match chosen.schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        Schedule::Linear => 1.0 - done,
    };
    chosen.learning_rate * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(schedule: Schedule, step: u32) -> f64 {
        let chosen = Hyperparameters {
            schedule,
            steps: 14,
            warmup_steps: 4,
            learning_rate: 1.0,
            ..Hyperparameters::default()
        };
        learning_rate(&chosen, step)
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
}
