//! One autodiff graph at a time per process.
//!
//! Rule: whoever builds a graph holds the [`AutodiffGuard`] from the first tensor that requires a gradient until the
//! last gradient is taken. burn-autodiff 0.21 sweeps the graphs of all threads after each backward pass and drops
//! those that another thread is still building as abandoned, so gradients are lost silently (tracel-ai/burn#5573). A
//! process trains one model per job, so waiting costs nothing there.

use std::sync::{Mutex, MutexGuard, PoisonError};

static AUTODIFF_LOCK: Mutex<()> = Mutex::new(());

/// Exclusive use of autodiff in this process, until dropped.
#[must_use]
pub struct AutodiffGuard(#[expect(dead_code, reason = "held until it is dropped")] MutexGuard<'static, ()>);

impl AutodiffGuard {
    /// Waits until no other graph exists. A training that panicked leaves nothing behind that affects the next one.
    pub fn acquire() -> Self {
        Self(AUTODIFF_LOCK.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
