//! What completed jobs say about how fast trainings are (JB-1).
//!
//! One rule: only the newest are asked, of the same method and base, so that an estimate follows the machines
//! and builds of today.

use domain::{
    id::ModelId,
    jobs::{
        estimate::{Run, needs},
        shape::Shape,
        spec::TrainingSpec,
    },
};
use serde::Deserialize;

use super::job::Jobs;
use crate::{
    history::AsOf,
    read_model::{ReadError, ReadModel, Source, fetch_json},
};

/// Rows that are looked at.
const LOOK: i64 = 100;

#[derive(Deserialize)]
struct Completed {
    spec: TrainingSpec,
    worker_name: Option<String>,
    speed: Option<String>,
}

/// Completed runs by the method of `spec` on the base version, the newest first. `shape`: the base's.
///
/// # Errors
/// When the database fails.
pub async fn like(
    source: &impl Source,
    spec: &TrainingSpec,
    base: Option<(ModelId, u32)>,
    shape: Option<&Shape>,
) -> Result<Vec<Run>, ReadError> {
    let pool = source.serving(&[Jobs::NAME])?;
    let statement = format!(
        "select jsonb_build_object('spec', t.spec, 'worker_name', t.worker_name, \
         'speed', t.metrics ->> 'tokens_per_second')::text \
         from jobs_job t where t.state = 'completed' and t.ended_at is not null \
         and t.spec -> 'method' ->> 'method' = $1 \
         and t.base_model_id is not distinct from $2 and t.base_model_version is not distinct from $3 \
         order by t.ended_at desc limit {LOOK}"
    );
    let query = AsOf::Now
        .query(statement)
        .bind(spec.method.name())
        .bind(base.map(|(model, _)| model.0))
        .bind(base.map(|(_, version)| i32::try_from(version).unwrap_or(i32::MAX)));
    let found: Vec<Completed> = fetch_json(pool, query).await?;
    Ok(found.iter().filter_map(|row| row.run(shape)).collect())
}

impl Completed {
    fn run(&self, shape: Option<&Shape>) -> Option<Run> {
        let (_, device) = self.worker_name.as_deref()?.rsplit_once('/')?;
        Some(Run {
            parameters: needs(&self.spec, shape)?.parameters,
            tokens_per_second: self.speed.as_deref()?.parse().ok()?,
            device: device.to_owned(),
        })
    }
}
