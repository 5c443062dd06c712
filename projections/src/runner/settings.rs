//! How long the runner waits for what.
//!
//! One rule: rebuilds in the background use the same lengths of time, so this file imports nothing.

use std::time::Duration;

/// Lengths of time of the runner.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a leader that is not heard of stays the leader.
    pub lease: Duration,
    /// How often it is looked whether a rebuild is wanted.
    pub look: Duration,
    /// How long read models may stand still, with more to fold, until none of them is shown.
    pub standstill: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            look: Duration::from_secs(1),
            standstill: Duration::from_secs(5),
        }
    }
}
