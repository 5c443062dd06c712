//! Who runs the reactors: one process, by a lease.
//!
//! One rule: no effect is begun by who has not renewed the lease within its length, and nothing is written but in a
//! transaction that proves it. So two processes do an effect twice only when one of them is stopped in the middle of it.

use std::sync::{Mutex, PoisonError};

use projections::lease::Lease;
use sqlx::PgConnection;
use tokio::time::Instant;

use super::RunError;

/// A lease that was taken, and when it was renewed last.
pub(super) struct Ownership {
    lease: Lease,
    /// `None` when it is known to be lost.
    renewed: Mutex<Option<Instant>>,
}

impl Ownership {
    /// That of a lease which was taken after `asked`.
    pub(super) fn new(lease: Lease, asked: Instant) -> Self {
        Self {
            lease,
            renewed: Mutex::new(Some(asked)),
        }
    }

    /// Refuses when the lease is lost, or may be.
    pub(super) fn check(&self) -> Result<(), RunError> {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed.is_some_and(|at| at.elapsed() < self.lease.length()) {
            true => Ok(()),
            false => Err(RunError::Deposed),
        }
    }

    /// Renews the lease; inside of a transaction, proves it until its end.
    pub(super) async fn prove(&self, connection: &mut PgConnection) -> Result<(), RunError> {
        let asked = Instant::now();
        let ours = self.lease.renew(connection).await?;
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = ours.then_some(asked);
        match ours {
            true => Ok(()),
            false => Err(RunError::Deposed),
        }
    }
}
