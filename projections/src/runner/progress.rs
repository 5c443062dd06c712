//! Positions of the read models, for callers that read their own writes.
//!
//! The rule: a projection that is stopped or still being built holds nobody up; it is reported instead, and not shown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::event_store::Position;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::{
    position::position,
    read_model::{ReadModels, Unserved},
};

/// How often the table is asked, for when another process leads.
const ASK_EACH: Duration = Duration::from_millis(50);

/// The position of the read models.
#[derive(Clone)]
pub struct Progress {
    pub(super) position: watch::Receiver<Position>,
    pub(super) unserved: Arc<watch::Sender<Unserved>>,
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

    /// Looks which read models follow the log. The runner does so all the time; this is for before it has begun.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(&self) -> Result<(), sqlx::Error> {
        self.stored().await.map(|_| ())
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

    /// The read models, for clients.
    #[must_use]
    pub fn read_models(&self) -> ReadModels {
        ReadModels::new(self.pool.clone(), self.unserved.subscribe())
    }

    /// What the checkpoint table says: the position of those that follow the log. What it says of the others is published
    /// before, so that nobody who waits for the position is shown theirs.
    pub(super) async fn stored(&self) -> Result<Position, sqlx::Error> {
        let rows = sqlx::query(
            "select name, position, state, failing_since from projection_checkpoint where name = any($1)",
        )
        .bind(&self.names)
        .fetch_all(&self.pool)
        .await?;
        let (mut reached, mut unserved) = (None, BTreeMap::new());
        for row in &rows {
            let (name, state): (String, &str) = (row.try_get(0)?, row.try_get(2)?);
            let stopped = metrics::gauge!("projection_stopped", "projection" => name.clone());
            stopped.set(f64::from(u8::from(state == "stopped")));
            match state {
                "live" => reached = reached.into_iter().chain([row.try_get(1)?]).min(),
                _ => drop(unserved.insert(name, row.try_get(3)?)),
            }
        }
        self.publish_unserved(unserved);
        Ok(position(reached.unwrap_or_default()))
    }

    fn publish_unserved(&self, found: BTreeMap<String, Option<OffsetDateTime>>) {
        self.unserved.send_if_modified(|published| {
            let modified = **published != found;
            if modified {
                *published = Arc::new(found);
            }
            modified
        });
    }
}
