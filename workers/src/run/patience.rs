//! Waits before what may pass is tried again.
//!
//! One rule: patience ends, and it is spent on interruptions only, never on failures.

use std::time::Duration;

use crate::end::End;

/// Waits before the further tries.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];

/// The patience left for one thing.
#[derive(Debug, Default)]
pub(super) struct Patience {
    tries: usize,
}

impl Patience {
    /// Whether to try again after `end`; waits first.
    pub(super) async fn again(&mut self, end: &End) -> bool {
        let (End::Interrupted { cause, .. }, Some(pause)) = (end, PAUSES.get(self.tries)) else {
            return false;
        };
        tracing::warn!(cause, "trying again in {} s", pause.as_secs());
        self.tries += 1;
        tokio::time::sleep(*pause).await;
        true
    }
}
