//! Rebuilds in the background of a running system what has to be rebuilt.
//!
//! The rule: what has to be is read from the database each time: tables that an older version of the code has
//! folded, new ones over a long log, and what was asked for. One process works at a time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::event_store::EventStore;
use sqlx::{PgPool, Row as _};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Outcome, Rebuild, RebuildError, RebuildOptions};
use crate::{read_model::Projector, runner::Settings};

/// How long a projection that could not be rebuilt is left alone: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What the task needs.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) pool: PgPool,
    pub(crate) projectors: Vec<Box<dyn Projector>>,
    /// Told after each swap.
    pub(crate) swapped: Arc<Notify>,
    pub(crate) settings: Settings,
}

struct Task {
    store: Arc<dyn EventStore>,
    pool: PgPool,
    projectors: Vec<Arc<dyn Projector>>,
    swapped: Arc<Notify>,
    settings: Settings,
    /// When what failed is tried again.
    waiting: HashMap<&'static str, (Instant, Duration)>,
}

/// Works until `stop` is cancelled; what is under way then is gone on with at the next start.
pub(crate) async fn run(parts: Parts, stop: CancellationToken) {
    let mut task = Task {
        store: parts.store,
        pool: parts.pool,
        projectors: parts.projectors.into_iter().map(Arc::from).collect(),
        swapped: parts.swapped,
        settings: parts.settings,
        waiting: HashMap::new(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(task.settings.look) => {}
        }
        if let Err(error) = task.look(&stop).await {
            tracing::warn!(%error, "the rebuilding of read models paused, trying again");
        }
    }
}

impl Task {
    async fn look(&mut self, stop: &CancellationToken) -> Result<(), RebuildError> {
        if self.wanted().await?.is_empty() {
            return Ok(());
        }
        let begun = Rebuild::begin(self.store.clone(), self.pool.clone(), self.settings.lease).await?;
        let Some(rebuild) = begun else { return Ok(()) };
        // Another process may have done it meanwhile.
        let wanted = self.wanted().await?;
        let names: Vec<&'static str> = wanted.iter().map(|projector| projector.name()).collect();
        let outcomes = if wanted.is_empty() {
            Some(Ok(Vec::new()))
        } else {
            self.mark(&names, 1.0);
            let options = RebuildOptions {
                compare: false,
                swap: true,
                discard: false,
            };
            tracing::info!(projections = names.join(", "), "read models are being rebuilt");
            tokio::select! {
                outcomes = rebuild.run(wanted, options, &|_| ()) => Some(outcomes),
                () = stop.cancelled() => None,
            }
        };
        self.mark(&names, 0.0);
        rebuild.end().await?;
        match outcomes {
            Some(Ok(outcomes)) => {
                self.note(&outcomes);
                Ok(())
            }
            Some(Err(error)) => {
                for name in names {
                    self.wait(name);
                }
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// The projections that have to be rebuilt now.
    async fn wanted(&self) -> Result<Vec<Arc<dyn Projector>>, RebuildError> {
        let rows = sqlx::query(
            "select c.name, c.version, c.state = 'building' or coalesce(q.requested > q.done, false)
             from projection_checkpoint c left join projection_request q using (name)",
        )
        .fetch_all(&self.pool)
        .await?;
        let mut wanted = Vec::new();
        for row in &rows {
            let (name, version, asked): (&str, i32, bool) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let known = self.projectors.iter().find(|projector| projector.name() == name);
            let due = |projector: &&Arc<dyn Projector>| {
                let waits = self.waiting.get(projector.name());
                waits.is_none_or(|(again, _)| *again <= Instant::now())
            };
            if let Some(projector) = known.filter(due) {
                let ours = projector.version();
                // What a newer version has folded is left to it.
                if version < ours || (version == ours && asked) {
                    wanted.push(projector.clone());
                }
            }
        }
        Ok(wanted)
    }

    fn mark(&self, names: &[&'static str], value: f64) {
        for name in names {
            metrics::gauge!("projection_rebuilding", "projection" => *name).set(value);
        }
    }

    fn wait(&mut self, name: &'static str) {
        let wait = self
            .waiting
            .get(name)
            .map_or(FIRST_WAIT, |(_, wait)| (*wait * 2).min(LONGEST_WAIT));
        self.waiting.insert(name, (Instant::now() + wait, wait));
    }

    fn note(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if outcome.swapped {
                tracing::info!(
                    projection = outcome.name,
                    position = outcome.position.0,
                    "a read model was rebuilt"
                );
                metrics::counter!("projection_rebuilds_total", "projection" => outcome.name).increment(1);
                self.waiting.remove(outcome.name);
            } else {
                self.wait(outcome.name);
            }
        }
        self.swapped.notify_one();
    }
}
