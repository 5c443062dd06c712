//! The trace of a run.
//!
//! One rule: a line holds logical time only, so that the same seed writes the same trace.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

/// Everything that happened, a line each.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<String>);

impl Trace {
    pub(super) fn line(&self, micros: u64, who: &str, what: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{seconds:>4}.{rest:06} {who:<12} {what}");
    }

    pub(super) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
