//! One graph of operations at a time.
//!
//! One rule: whoever computes what gradients will be asked for holds the [`Turn`] from the first tensor that requires one
//! until the last gradient is taken. burn-autodiff 0.21 sweeps the graphs of all threads after each backward pass, and
//! takes what another thread is just building for abandoned: gradients get lost there without a word
//! (tracel-ai/burn#5573). A process that works on a job trains one model, so waiting costs nothing there.

use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// See the module; it is over when this is dropped.
#[must_use]
pub struct Turn(#[expect(dead_code, reason = "held until it is dropped")] MutexGuard<'static, ()>);

impl Turn {
    /// Waits for it. A training that panicked left nothing that another could meet.
    pub fn wait() -> Self {
        Self(TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
