//! How much is measured.
//!
//! The rule: `--quick` shows in a minute that every figure can be measured; only the full size is worth quoting.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// What the length of the long log stands behind, among the arguments.
pub(crate) const EVENTS: &str = "--events=";

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
    ///
    /// # Errors
    /// When the length of the log is no number.
    pub(crate) fn of(arguments: &[String]) -> Result<Self> {
        let mut scale = if arguments.iter().any(|argument| argument == "--quick") {
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
        };
        let events = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(EVENTS));
        if let Some(events) = events {
            scale.events = events
                .parse()
                .with_context(|| format!("'{events}' is no number of events"))?;
        }
        Ok(scale)
    }
}
