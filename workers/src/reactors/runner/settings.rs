//! How long the runner waits for what, and how often it tries.

use std::time::Duration;

use uuid::Uuid;

/// Lengths of time of the runner.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an owner that is not heard of stays the owner.
    pub lease: Duration,
    /// How long the first try of an effect may take. It is short, for the next events wait for it.
    pub first_try: Duration,
    /// How long each further try may take, for which nobody waits.
    pub further_try: Duration,
    /// The wait after the first failure; twice as long after each further one.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// After so many failures an effect is given up: with the other defaults, after some 19 hours, in the life of a
    /// verification token.
    pub attempts: u32,
    /// When it is looked again at what is under way elsewhere.
    pub under_way: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            first_try: Duration::from_secs(5),
            further_try: Duration::from_secs(60),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(1_800),
            attempts: 48,
            under_way: Duration::from_millis(500),
        }
    }
}

impl Settings {
    /// The wait after so many failures of `effect`, the first being 1: doubled each time, less up to a half of it. How much
    /// less comes from the effect's id, so that those that failed together do not come back together.
    #[must_use]
    pub fn wait(&self, effect: Uuid, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(30));
        let whole = self.first_wait.saturating_mul(doubled).min(self.longest_wait);
        let dice = effect.as_bytes()[usize::try_from(failures % 16).unwrap_or_default()];
        whole - whole.mul_f64(f64::from(dice) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::Settings;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let settings = Settings::default();
        let (one, other) = (Uuid::from_u128(0), Uuid::from_u128(u128::MAX));
        let mut all = Duration::ZERO;
        for failures in 1..=settings.attempts {
            let (long, short) = (settings.wait(one, failures), settings.wait(other, failures));
            let whole = Duration::from_secs(1 << (failures - 1).min(20)).min(settings.longest_wait);
            assert_eq!(long, whole, "{failures}");
            assert!(short < whole && short >= whole / 2, "{failures}: {short:?}");
            all += long;
        }
        assert!(settings.wait(one, u32::MAX) == settings.longest_wait);
        let hours = all.as_secs() / 3_600;
        assert!((17..24).contains(&hours), "{hours} h");
    }
}
