//! The queue: which jobs wait, in which order, and for how long (JB-6).
//!
//! One rule: the order is the domain's ([`domain::jobs::schedule`]); here is only what it goes by.

use std::collections::BTreeMap;

use domain::{
    id::{JobId, UserId},
    jobs::{
        kind::KindName,
        requirements::{JobRequirements, Unfit},
        schedule::{self, Share, Waiting},
    },
};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{
    job::Jobs,
    worker::{self, ActiveWorker},
};
use crate::{
    history::AsOf,
    position::stored,
    read_model::{ReadError, ReadModel, Source, fetch_json},
};

/// Waiting jobs that are looked at. More wait unseen until some of these are done.
const MOST: i64 = 10_000;
/// Ended jobs by which the usual time of a job is known.
const KNOWN: i64 = 20;

/// A job that waits.
#[derive(Clone, Debug, Deserialize)]
pub struct WaitingRow {
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: KindName,
    owner_id: UserId,
    priority: i8,
    losses: u32,
    #[serde(with = "time::serde::rfc3339")]
    queued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    waiting_since: OffsetDateTime,
    /// What it demands.
    #[serde(rename = "terms")]
    pub requirements: JobRequirements,
}

#[derive(Deserialize)]
struct ShareRow {
    owner_id: UserId,
    running: u32,
    recent: u64,
}

/// That the version `t` of a row was there after the event at `at`. Of all jobs that ever waited or ran, indexes of the
/// spans as points find those of that moment: it began then or before, and ended later.
fn spans(at: i64) -> String {
    format!(
        "point(t.valid_from::float8, coalesce(t.valid_to::float8, 'Infinity'::float8)) \
         <@ box(point('-Infinity', {}), point({at}, 'Infinity'))",
        at.saturating_add(1)
    )
}

/// The jobs that wait, in the order in which they go to workers. "Of late", for the fair share, are jobs that
/// used a worker within seven days.
///
/// # Errors
/// When the database fails.
pub async fn waiting(source: &impl Source, as_of: AsOf) -> Result<Vec<WaitingRow>, ReadError> {
    let pool = source.serving(&[Jobs::NAME])?;
    let jobs = as_of.of::<Jobs>();
    let (valid, now) = match as_of {
        AsOf::Now => (String::new(), "now()".to_owned()),
        AsOf::AsOf(at) => (
            format!("and {}", spans(stored(at))),
            format!(
                "(select e.at from audit_entry e where e.position <= {} order by e.position desc limit 1)",
                stored(at)
            ),
        ),
    };
    let statement = format!(
        "select jsonb_build_object('id', t.id, 'kind', t.kind, 'owner_id', t.owner_id, 'priority', t.priority, \
         'losses', t.losses, 'queued_at', t.queued_at, 'waiting_since', t.waiting_since, \
         'terms', t.terms)::text \
         from {jobs} t where t.state = 'queued' {valid} order by t.queued_at, t.id limit {MOST}"
    );
    let rows: Vec<WaitingRow> = fetch_json(pool, as_of.query(statement)).await?;
    if rows.len() < 2 {
        return Ok(rows);
    }
    let statement = format!(
        "select jsonb_build_object('owner_id', s.owner_id, 'running', sum(s.running), 'recent', sum(s.recent))::text \
         from (select t.owner_id, 1 as running, 0 as recent \
                 from {jobs} t where t.state in ('starting', 'running') {valid} \
               union all select t.owner_id, 0, t.worker_milliseconds \
                 from {jobs} t where t.metered_at > {now} - interval '7 days') s \
         group by s.owner_id"
    );
    let shares: Vec<ShareRow> = fetch_json(pool, as_of.query(statement)).await?;
    let shares = shares.into_iter().map(|row| {
        let (running, recent) = (row.running, row.recent);
        (row.owner_id, Share { running, recent })
    });
    let known: Vec<Waiting> = rows.iter().map(WaitingRow::known).collect();
    let order = schedule::order(&known, &shares.collect());
    let mut rows: BTreeMap<JobId, WaitingRow> = rows.into_iter().map(|row| (row.id, row)).collect();
    Ok(order.iter().filter_map(|job| rows.remove(job)).collect())
}

impl WaitingRow {
    fn kind(&self) -> KindName {
        self.kind
    }

    fn known(&self) -> Waiting {
        Waiting {
            job: self.id,
            owner: self.owner_id,
            priority: self.priority,
            losses: self.losses,
            queued_at: self.queued_at,
            since: self.waiting_since,
        }
    }
}

/// Where a waiting job stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Jobs of its kind that go before it, of anybody: other kinds wait for other workers.
    pub before: usize,
    /// Seconds until a worker takes it, estimated from what is under way and how long jobs took of late; `None`
    /// when no worker is there that could, or there is nothing to go by. Always `None` for the past.
    pub wait_seconds: Option<f64>,
    /// Why no worker that is there can run it; `None` when one can. Always `None` for the past.
    pub unfit: Option<String>,
    /// Whether every worker that can run it computes on a GPU, and there is one. Always `false` for the past.
    pub only_gpus: bool,
}

/// The places of those of `jobs` that wait. It takes as many statements as for one.
///
/// # Errors
/// When the database fails.
pub async fn places(
    source: &impl Source,
    as_of: AsOf,
    jobs: &[JobId],
) -> Result<BTreeMap<JobId, Place>, ReadError> {
    let queue = waiting(source, as_of).await?;
    let mut before: BTreeMap<KindName, usize> = BTreeMap::new();
    let counted = |row| {
        let before: &mut usize = before.entry(WaitingRow::kind(row)).or_default();
        *before += 1;
        (*before - 1, row)
    };
    let asked = |(_, row): &(usize, &WaitingRow)| jobs.contains(&row.id);
    let asked: Vec<(usize, &WaitingRow)> = queue.iter().map(counted).filter(asked).collect();
    let expected = match as_of {
        AsOf::Now if !asked.is_empty() => Some(Expected::known(source).await?),
        _ => None,
    };
    let place = |(before, row): (usize, &WaitingRow)| {
        let place = expected.as_ref().map(|known| known.place(before, row));
        let place = place.unwrap_or_else(|| Place::behind(before));
        (row.id, place)
    };
    Ok(asked.into_iter().map(place).collect())
}

impl Place {
    /// Of which nothing is known but what goes before.
    fn behind(before: usize) -> Self {
        Self {
            before,
            wait_seconds: None,
            unfit: None,
            only_gpus: false,
        }
    }
}

/// What the start of a waiting job is estimated from.
struct Expected {
    workers: Vec<ActiveWorker>,
    /// Seconds that a job of each kind took a worker of late.
    usual: BTreeMap<KindName, f64>,
}

impl Expected {
    async fn known(source: &impl Source) -> Result<Self, ReadError> {
        Ok(Self {
            workers: worker::there(source).await?,
            usual: usual(source).await?,
        })
    }

    fn place(&self, before: usize, row: &WaitingRow) -> Place {
        let mut place = Place::behind(before);
        let able = self.workers.iter().filter(|one| one.takes_jobs());
        let (mut fitting, mut able_of_any_kind) = (Vec::new(), false);
        for one in able {
            able_of_any_kind = true;
            match one.worker.capabilities().fit(row.kind, &row.requirements) {
                // Others than those of its kind are not worth a word, unless there is none.
                Err(Unfit::Kind(_)) => {}
                Ok(()) => fitting.push(one),
                Err(unfit) => place.unfit = Some(format!("{}: {unfit}", one.worker.name)),
            }
        }
        if fitting.is_empty() {
            let nobody = match able_of_any_kind {
                true => format!(
                    "no worker is there that takes jobs of the kind {}",
                    row.kind.name()
                ),
                false => "no worker is there".to_owned(),
            };
            place.unfit.get_or_insert(nobody);
            return place;
        }
        place.unfit = None;
        place.only_gpus = fitting.iter().all(|one| one.worker.capabilities().gpu());
        let remaining: Vec<Option<f64>> = fitting
            .iter()
            .filter(|one| one.job.is_some())
            .map(|one| one.eta_seconds.map(f64::from))
            .collect();
        let usual = self.usual.get(&row.kind).copied();
        place.wait_seconds = schedule::expected_wait(before, fitting.len(), &remaining, usual);
        place
    }
}

#[derive(Deserialize)]
struct Usual {
    kind: KindName,
    seconds: f64,
}

/// Seconds that a job of each kind took a worker of late.
async fn usual(source: &impl Source) -> Result<BTreeMap<KindName, f64>, ReadError> {
    let pool = source.serving(&[Jobs::NAME])?;
    let kinds = KindName::ALL.map(|kind| {
        format!(
            "select worker_milliseconds, kind from (select worker_milliseconds, kind from jobs_job \
             where kind = '{}' and ended_at is not null and worker_milliseconds > 0 \
             order by ended_at desc limit {KNOWN}) of_kind",
            kind.name()
        )
    });
    let statement = format!(
        "select jsonb_build_object('kind', kind, 'seconds', (avg(worker_milliseconds) / 1000)::double precision)::text \
         from ({}) t group by kind",
        kinds.join(" union all ")
    );
    let found: Vec<Usual> = fetch_json(pool, AsOf::Now.query(statement)).await?;
    Ok(found
        .into_iter()
        .map(|usual| (usual.kind, usual.seconds))
        .collect())
}
