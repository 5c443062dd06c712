//! Positions of the read models, for callers that read their own writes.
//!
//! The rule: a projection that is stopped or still being built holds nobody up; it is reported instead.

use std::time::Duration;

use domain::event_store::Position;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::position::position;

/// How often the table is asked, for when another process leads.
const ASK_EACH: Duration = Duration::from_millis(50);

/// The position of the read models.
#[derive(Clone)]
pub struct Progress {
    pub(super) position: watch::Receiver<Position>,
    pub(super) pool: PgPool,
    pub(super) names: Vec<&'static str>,
}

/// The read models did not get there in time.
#[derive(Debug, thiserror::Error)]
#[error("the read models have not reached position {wanted} in time (they are at {reached}); try again")]
pub struct PositionNotReached {
    /// Where they should be.
    pub wanted: Position,
    /// Where they are.
    pub reached: Position,
}

impl Progress {
    /// The position up to which all read models that are being folded are folded, as last heard.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Waits until all read models that are being folded have folded `wanted`.
    ///
    /// # Errors
    /// When that takes longer than `timeout`.
    pub async fn wait_for_position(
        &self,
        wanted: Position,
        timeout: Duration,
    ) -> Result<(), PositionNotReached> {
        if self.position() >= wanted {
            return Ok(());
        }
        let mut position = self.position.clone();
        let local = async { position.wait_for(|reached| *reached >= wanted).await.is_ok() };
        tokio::select! {
            true = local => Ok(()),
            true = self.wait_for_position_elsewhere(wanted) => Ok(()),
            () = tokio::time::sleep(timeout) => Err(PositionNotReached { wanted, reached: self.position() }),
            else => Err(PositionNotReached { wanted, reached: self.position() }),
        }
    }

    async fn wait_for_position_elsewhere(&self, wanted: Position) -> bool {
        loop {
            tokio::time::sleep(ASK_EACH).await;
            if self.stored().await.is_ok_and(|reached| reached >= wanted) {
                return true;
            }
        }
    }

    /// What the checkpoint table says.
    pub(super) async fn stored(&self) -> Result<Position, sqlx::Error> {
        sqlx::query_scalar::<_, i64>(
            "select coalesce(min(position), 0) from projection_checkpoint
             where state = 'live' and name = any($1)",
        )
        .bind(&self.names)
        .fetch_one(&self.pool)
        .await
        .map(position)
    }
}
