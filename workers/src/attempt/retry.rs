//! Waits before what may pass is tried again.
//!
//! One rule: retries are limited, and only interruptions are retried, never failures.

use std::time::Duration;

use super::outcome::AttemptOutcome;

/// Waits before the further tries.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];

/// The retries left for one operation.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    tries: usize,
}

impl RetryBudget {
    /// Whether to try again after `end`; waits first.
    pub(crate) async fn again(&mut self, end: &AttemptOutcome) -> bool {
        let (AttemptOutcome::Interrupted { cause, .. }, Some(pause)) = (end, PAUSES.get(self.tries)) else {
            return false;
        };
        tracing::warn!(cause, "trying again in {} s", pause.as_secs());
        self.tries += 1;
        tokio::time::sleep(*pause).await;
        true
    }
}
