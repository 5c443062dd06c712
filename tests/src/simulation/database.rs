//! PostgreSQL, as far as a run needs it: read models with their checkpoints, and the table of leases.
//!
//! The rule: every method is one transaction. Rows are kept as they are encoded for the real tables, and they are made
//! by the real folds.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    time::Duration,
};

use domain::{
    event_store::{Position, RecordedEvent},
    id::{JobId, UserId, WorkerId},
    jobs::{
        job::JobState,
        schedule::{self, Share, Waiting},
    },
};
use projections::{
    jobs::job::JobRow,
    read_model::{ReadModel, Row as _, Rows, Tuple, Values},
};
use workers::lease::{
    expiry,
    queue::{Lease, LeaseStatus},
};

use super::reactors::ReactorTable;

/// The rows of one read model, by key.
pub(super) type Stored = BTreeMap<String, Tuple>;

/// A read model whose rows are kept here instead of in a table.
pub(super) trait Fold {
    fn name(&self) -> &'static str;
    /// The rows that `events` change, folded over what is `stored`.
    fn fold(&self, stored: &Stored, events: &[RecordedEvent]) -> Result<Stored, String>;
}

struct Model<M>(PhantomData<M>);

impl<M: ReadModel> Fold for Model<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn fold(&self, stored: &Stored, events: &[RecordedEvent]) -> Result<Stored, String> {
        let wanted = |event: &&RecordedEvent| {
            M::CATEGORIES.is_empty() || M::CATEGORIES.contains(&event.stream.category())
        };
        let mut rows: Rows<M::Row> = Rows::default();
        let mut keys = BTreeSet::new();
        for event in events.iter().filter(wanted) {
            keys.extend(M::keys(event).map_err(|error| error.to_string())?);
        }
        for (key, tuple) in keys.iter().filter_map(|key| stored.get_key_value(key)) {
            let row = M::Row::decode(&mut Values::from(tuple));
            rows.put(key, row.map_err(|error| error.to_string())?);
        }
        // What was only read is not written.
        drop(rows.settle());
        let mut changed = BTreeSet::new();
        for event in events.iter().filter(wanted) {
            M::fold(event, &mut rows).map_err(|error| error.to_string())?;
            changed.extend(rows.settle());
        }
        let mut written = Stored::new();
        for key in changed {
            if let Some(row) = rows.get(&key) {
                let tuple = Tuple::of(row).map_err(|error| error.to_string())?;
                written.insert(key, tuple);
            }
        }
        Ok(written)
    }
}

/// Every read model of the system.
pub(super) fn read_models() -> Vec<Box<dyn Fold>> {
    struct All(Vec<Box<dyn Fold>>);
    impl projections::Visitor for All {
        fn visit<M: ReadModel>(&mut self) {
            self.0.push(Box::new(Model::<M>(PhantomData)));
        }
    }
    let mut all = All(Vec::new());
    projections::visit(&mut all);
    all.0
}

#[derive(Clone, Debug)]
struct LeaseRow {
    attempt: u32,
    worker: WorkerId,
    worker_name: String,
    expires_at: Duration,
}

/// See the module.
#[derive(Default)]
pub(super) struct Database {
    rows: BTreeMap<&'static str, Stored>,
    checkpoint: Position,
    leases: BTreeMap<JobId, LeaseRow>,
    pub(super) reactors: ReactorTable,
}

impl Database {
    pub(super) fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    pub(super) fn rows(&self, model: &str) -> Stored {
        self.rows.get(model).cloned().unwrap_or_default()
    }

    /// Moves the checkpoint from `from` to `to`, if nobody else has moved it.
    pub(super) fn move_checkpoint(&mut self, from: Position, to: Position) -> bool {
        let free = self.checkpoint == from;
        if free {
            self.checkpoint = to;
        }
        free
    }

    pub(super) fn write(&mut self, changed: BTreeMap<&'static str, Stored>) {
        for (model, rows) in changed {
            self.rows.entry(model).or_default().extend(rows);
        }
    }

    fn jobs(&self) -> Vec<JobRow> {
        let rows = self.rows.get("jobs.job").into_iter().flat_map(BTreeMap::values);
        rows.filter_map(|tuple| JobRow::decode(&mut Values::from(tuple)).ok())
            .collect()
    }

    /// As `projections::jobs::queue::waiting`; a run is shorter than what counts as "of late".
    pub(super) fn waiting(&self) -> Vec<JobId> {
        let (mut waiting, mut shares) = (Vec::new(), BTreeMap::<UserId, Share>::new());
        for row in self.jobs() {
            let share = shares.entry(row.owner_id).or_default();
            share.running += u32::from(row.state.is_leased());
            share.recent += u64::try_from(row.worker_milliseconds).unwrap_or_default();
            if row.state == JobState::Queued {
                waiting.push(Waiting {
                    job: row.id,
                    owner: row.owner_id,
                    priority: i8::try_from(row.priority).unwrap_or_default(),
                    losses: u32::try_from(row.losses).unwrap_or_default(),
                    queued_at: row.queued_at,
                    since: row.waiting_since,
                });
            }
        }
        schedule::order(&waiting, &shares)
    }

    /// Jobs that a worker has, with the number of the attempt.
    pub(super) fn under_way(&self) -> Vec<(JobId, u32)> {
        let jobs = self.jobs().into_iter().filter(|row| row.state.is_leased());
        jobs.map(|row| (row.id, u32::try_from(row.attempt).unwrap_or_default()))
            .collect()
    }

    /// As `workers::lease::queue::claim`.
    pub(super) fn claim(&mut self, lease: &Lease, now: Duration, time: Duration) -> bool {
        let held = self.leases.get(&lease.job).map(|row| (row.attempt, row.worker));
        let free = held.is_none_or(|held| expiry::may_be_replaced_by(held, (lease.attempt, lease.worker)));
        if free {
            let row = LeaseRow {
                attempt: lease.attempt,
                worker: lease.worker,
                worker_name: lease.worker_name.clone(),
                expires_at: now + time,
            };
            self.leases.insert(lease.job, row);
        }
        free
    }

    /// As `workers::lease::queue::beat`.
    pub(super) fn beat(&mut self, lease: &Lease, now: Duration, time: Duration) -> bool {
        let own = self
            .leases
            .get_mut(&lease.job)
            .filter(|row| row.attempt == lease.attempt && row.worker == lease.worker);
        own.map(|row| row.expires_at = now + time).is_some()
    }

    /// As `workers::lease::queue::release`.
    pub(super) fn release(&mut self, job: JobId, attempt: u32) {
        if self.leases.get(&job).is_some_and(|row| row.attempt == attempt) {
            self.leases.remove(&job);
        }
    }

    /// As `workers::lease::queue::lease_statuses`, for one job.
    pub(super) fn status(&self, job: JobId, now: Duration) -> Option<LeaseStatus> {
        let row = self.leases.get(&job)?;
        Some(LeaseStatus {
            attempt: row.attempt,
            worker_name: row.worker_name.clone(),
            alive: row.expires_at > now,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::id::{JobId, WorkerId};
    use event_store::memory::Generator;
    use sqlx::PgPool;
    use uuid::Uuid;
    use workers::lease::queue::{self, Lease};

    use super::{Database, read_models};

    #[test]
    fn no_read_model_is_left_out() {
        let real: Vec<_> = projections::all()
            .iter()
            .map(|projector| projector.name())
            .collect();
        let here: Vec<_> = read_models().iter().map(|model| model.name()).collect();
        assert_eq!(here, real);
    }

    /// JB-4: the table of leases that the simulation has does what the real one does in PostgreSQL.
    #[tokio::test]
    async fn leases_behave_as_their_real_table_does() {
        let database = crate::harness::database().await;
        let pool = PgPool::connect(&database.url).await.expect("a connection");
        let (mut here, mut dice) = (Database::default(), Generator::new(1));
        let jobs: Vec<JobId> = (1..=3).map(|n| JobId(Uuid::from_u128(n))).collect();
        let now = Duration::from_secs(1_000);
        let mut outcomes = [0; 2];
        for turn in 0..400 {
            let lease = Lease {
                job: *dice.pick(&jobs).expect("one of three"),
                attempt: 1 + u32::try_from(dice.below(4)).expect("small"),
                worker: WorkerId(Uuid::from_u128(u128::from(dice.below(2)))),
                worker_name: format!("worker of turn {turn}"),
            };
            // Far from the edge on both sides: which clock is asked does not matter.
            let time = Duration::from_secs(3_600 * dice.below(2));
            let (real, mine) = match dice.below(5) {
                0 => {
                    queue::release(&pool, lease.job, lease.attempt)
                        .await
                        .expect("released");
                    here.release(lease.job, lease.attempt);
                    (true, true)
                }
                1 | 2 => (
                    queue::beat(&pool, &lease, time).await.expect("an answer"),
                    here.beat(&lease, now, time),
                ),
                _ => (
                    queue::claim(&pool, &lease, time).await.expect("an answer"),
                    here.claim(&lease, now, time),
                ),
            };
            assert_eq!(mine, real, "turn {turn}: {lease:?}");
            outcomes[usize::from(mine)] += 1;
            let status = queue::lease_statuses(&pool, &jobs).await.expect("an answer");
            for job in &jobs {
                assert_eq!(here.status(*job, now).as_ref(), status.get(job), "turn {turn}");
            }
        }
        assert!(outcomes.iter().all(|count| *count > 50), "{outcomes:?}");
    }
}
