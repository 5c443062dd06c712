//! Positions of the read models, for callers that read their own writes.
//!
//! The rule: a projection that is stopped or still being built holds nobody up; it is reported instead, and not shown. Nor
//! are any shown when all stand still; see [`super::standstill`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::event_store::Position;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;
use tokio::{sync::watch, time::Instant};

use crate::{
    position::position,
    read_model::{ReadModels, Unserved},
};

/// How often the table is asked, for when another process leads.
const ASK_EACH: Duration = Duration::from_millis(50);

/// The position of the read models.
#[derive(Clone)]
pub struct Progress {
    position: watch::Receiver<Position>,
    /// Where it is published: by the leader of this process, or by who asks the table.
    reached: watch::Sender<Position>,
    /// Whether this process leads: then nobody knows better.
    leads: Arc<AtomicBool>,
    /// When the table was asked last for those who wait.
    asked: Arc<tokio::sync::Mutex<Option<Instant>>>,
    unserved: Arc<watch::Sender<Unserved>>,
    /// What the unserved ones come from.
    found: Arc<Mutex<Found>>,
    pool: PgPool,
    names: Arc<[&'static str]>,
}

/// Which read models are not to be shown, and why.
#[derive(Debug, Default)]
struct Found {
    /// Those that do not follow the log, by the checkpoint table.
    off: BTreeMap<String, Option<OffsetDateTime>>,
    /// Since when all of them stand still.
    still_since: Option<OffsetDateTime>,
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
    /// For the read models of these names.
    pub(super) fn new(pool: PgPool, names: Arc<[&'static str]>) -> Self {
        let (reached, position) = watch::channel(Position::START);
        Self {
            position,
            reached,
            leads: Arc::default(),
            asked: Arc::default(),
            unserved: Arc::default(),
            found: Arc::default(),
            pool,
            names,
        }
    }

    /// The position up to which all read models that are being folded are folded, as last heard.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Publishes a position.
    pub(super) fn publish(&self, reached: Position) {
        self.reached.send_replace(reached);
    }

    /// Says whether this process leads from now on.
    pub(super) fn lead(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
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
        tokio::select! {
            Ok(_) = position.wait_for(|reached| *reached >= wanted) => return Ok(()),
            () = self.ask_again_and_again() => {}
            () = tokio::time::sleep(timeout) => {}
        }
        let reached = self.position();
        Err(PositionNotReached { wanted, reached })
    }

    /// Never comes back; to be dropped by who has waited long enough.
    async fn ask_again_and_again(&self) {
        loop {
            tokio::time::sleep(ASK_EACH).await;
            self.ask_who_leads().await;
        }
    }

    /// Publishes what the leader has written, if that is another process: one asks for all who wait.
    async fn ask_who_leads(&self) {
        let Ok(mut asked) = self.asked.try_lock() else {
            return;
        };
        let knows = self.leads.load(Ordering::Relaxed) && self.still_since().is_none();
        if knows || asked.is_some_and(|asked| asked.elapsed() < ASK_EACH) {
            return;
        }
        self.ask_the_table().await;
        *asked = Some(Instant::now());
    }

    /// Publishes what stands in the checkpoint table, whoever wrote it.
    pub(super) async fn ask_the_table(&self) {
        match self.stored().await {
            Ok(position) => self.publish(position),
            Err(error) => tracing::debug!(%error, "the position of the read models is not known"),
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
        .bind(&self.names[..])
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
        self.publish_unserved(|found| found.off = unserved);
        Ok(position(reached.unwrap_or_default()))
    }

    /// Whether the checkpoint table says of exactly these that they are off, as last heard.
    pub(super) fn are_off(&self, mut is_off: impl FnMut(&str) -> bool) -> bool {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        self.names
            .iter()
            .all(|name| is_off(name) == found.off.contains_key(*name))
    }

    /// Since when the read models have not moved although there is more to fold; `None` as long as they do.
    #[must_use]
    pub fn still_since(&self) -> Option<OffsetDateTime> {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .still_since
    }

    /// Whether any read model follows the log, as last heard.
    pub(super) fn some_follow(&self) -> bool {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        self.names.iter().any(|name| !found.off.contains_key(*name))
    }

    /// Comes back when the position moves; never when nobody can move it any more.
    pub(super) async fn moved(&mut self) {
        if self.position.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// From now on all stand still since then, or none do.
    pub(super) fn publish_standstill(&self, since: Option<OffsetDateTime>) {
        self.publish_unserved(|found| found.still_since = since);
    }

    fn publish_unserved(&self, change: impl FnOnce(&mut Found)) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut found);
        let mut unserved = found.off.clone();
        if let Some(since) = found.still_since {
            for name in &*self.names {
                unserved.entry((*name).to_owned()).or_insert(Some(since));
            }
        }
        self.unserved.send_if_modified(|published| {
            let modified = **published != unserved;
            if modified {
                *published = Arc::new(unserved);
            }
            modified
        });
    }
}
