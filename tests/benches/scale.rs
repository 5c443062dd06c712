//! How much is measured.
//!
//! The rule: `--quick` shows in a minute that every figure can be measured; only the full size is worth quoting.

use std::time::Duration;

/// Sizes that the figures of the log share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Events of the long log.
    pub(crate) events: u64,
    /// How long a turn takes.
    pub(crate) turn: Duration,
    /// Turns of each side.
    pub(crate) rounds: usize,
    /// Whether the figures are held to their goals.
    pub(crate) judged: bool,
}

impl Scale {
    /// What `--quick` asks for, and what is measured without it.
    pub(crate) fn of(arguments: &[String]) -> Self {
        if arguments.iter().any(|argument| argument == "--quick") {
            Self {
                events: 20_000,
                turn: Duration::from_millis(300),
                rounds: 1,
                judged: false,
            }
        } else {
            Self {
                events: 1_000_000,
                turn: Duration::from_millis(1_300),
                rounds: 3,
                judged: true,
            }
        }
    }
}
