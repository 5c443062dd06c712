//! What a training is likely to need, before it is ordered and with the order (JB-1).

use async_graphql::{Context, Object, Result, SimpleObject};
use domain::{
    id::ModelId,
    jobs::{
        estimate::{self, Needs},
        shape::Shape,
        spec::TrainingSpec,
        start::ValidateJob,
    },
};
use futures::TryStreamExt;
use objects::Key;
use projections::{
    history::AsOf,
    jobs::runs,
    models::{model::Models, version},
    read_model::{self, Viewer},
};
use std::collections::BTreeSet;

use super::{Job, StartJobInput, order};
use crate::{
    app::App,
    graphql::{
        context::{app, user},
        errors::read_failed,
        mutation::{Ended, MutationCall},
        scalars::Long,
        user_error::{UserError, UserErrors},
    },
};

/// Bytes of a `config.json` at most.
const CONFIG: u64 = 1 << 20;

/// Estimated run time on one kind of device.
#[derive(Clone, Debug, SimpleObject)]
pub struct JobTimeEstimate {
    /// `cpu` or `cuda`.
    pub device: String,
    /// Seconds.
    pub seconds: f64,
    /// Number of similar jobs that the estimate is based on.
    pub runs: u32,
}

/// Estimated resources of a training job.
#[derive(Clone, Debug, SimpleObject)]
pub struct JobEstimate {
    /// Estimated minimum memory in bytes.
    pub memory_bytes: Long,
    /// Parameters of the model.
    pub parameters: Long,
    /// Trained parameters.
    pub trained_parameters: Long,
    /// Training tokens over all steps; null for jobs by epochs, whose length is known only when the data is read.
    pub tokens: Option<Long>,
    /// Estimated run time per kind of device, based on similar jobs; empty if unknown.
    pub times: Vec<JobTimeEstimate>,
}

/// Result of `validateJob`.
#[derive(SimpleObject)]
pub struct JobValidation {
    /// Whether the job could be started.
    pub valid: bool,
    /// Every error in the input.
    pub problems: Vec<UserError>,
    /// Estimated resources; null if unknown.
    pub estimate: Option<JobEstimate>,
}

/// What is known of the base that a job names: the version that is meant, and its shape.
pub(super) struct Base {
    version: (ModelId, u32),
    pub(super) shape: Option<Shape>,
}

/// The base that is named, as far as `viewer` sees it. Its shape comes from its own `config.json`.
pub(super) async fn base(
    app: &App,
    viewer: &Viewer,
    named: Option<(ModelId, Option<u32>)>,
) -> Result<Option<Base>> {
    let Some((model, version)) = named else {
        return Ok(None);
    };
    let found = read_model::find::<Models>(&app.read_models, viewer, AsOf::Now, model.0).await;
    let Some(row) = found.map_err(|error| read_failed(&error))? else {
        return Ok(None);
    };
    let newest = u32::try_from(row.latest_version).unwrap_or_default();
    let version = version.unwrap_or(newest);
    let found = version::find(&app.read_models, model, version).await;
    let Some(row) = found.map_err(|error| read_failed(&error))? else {
        return Ok(None);
    };
    let shape = config(app, &row.artifact)
        .await
        .as_ref()
        .and_then(Shape::of_config);
    let version = (model, version);
    Ok(Some(Base { version, shape }))
}

/// The `config.json` of an artefact; `None` when it is not there, not small or not JSON: then nothing is estimated
/// by it, and the training itself will say what is wrong.
async fn config(app: &App, artifact: &str) -> Option<serde_json::Value> {
    let folder = Key::artifact(artifact.strip_prefix("artifacts/").unwrap_or(artifact)).ok()?;
    let download = app
        .objects
        .read(&folder.join("config.json").ok()?, None)
        .await
        .ok()?;
    if download.size > CONFIG {
        return None;
    }
    let pieces: Vec<_> = download.body.try_collect().await.ok()?;
    serde_json::from_slice(&pieces.concat()).ok()
}

/// Bytes that a training of `spec` needs at least; `None` when that is unknown.
pub(super) fn memory(spec: &TrainingSpec, base: Option<&Base>) -> Option<u64> {
    needs(spec, base).map(|needs| needs.memory_bytes)
}

fn needs(spec: &TrainingSpec, base: Option<&Base>) -> Option<Needs> {
    estimate::needs(spec, base.and_then(|base| base.shape.as_ref()))
}

/// What a training of `spec` on `base` is likely to need.
pub(super) async fn estimated(
    app: &App,
    spec: &TrainingSpec,
    base: Option<&Base>,
) -> Result<Option<JobEstimate>> {
    let Some(needs) = needs(spec, base) else {
        return Ok(None);
    };
    let (version, shape) = (
        base.map(|base| base.version),
        base.and_then(|base| base.shape.as_ref()),
    );
    let runs = runs::like(&app.read_models, spec, version, shape).await;
    let runs = runs.map_err(|error| read_failed(&error))?;
    let tokens = estimate::tokens(spec);
    let devices: BTreeSet<&str> = runs.iter().map(|run| run.device.as_str()).collect();
    let times = devices
        .into_iter()
        .filter_map(|device| estimate::duration(tokens?, needs.parameters, device, &runs))
        .map(|time| JobTimeEstimate {
            device: time.device,
            seconds: time.seconds,
            runs: u32::try_from(time.runs).unwrap_or(u32::MAX),
        });
    Ok(Some(JobEstimate {
        memory_bytes: Long(needs.memory_bytes),
        parameters: Long(needs.parameters),
        trained_parameters: Long(needs.trained),
        tokens: tokens.map(Long),
        times: times.collect(),
    }))
}

/// Asking before ordering.
#[derive(Default)]
pub struct JobEstimateQuery;

#[Object]
impl JobEstimateQuery {
    /// Validates a job without starting it: all errors and the estimated resources. Nothing is queued and no quota is
    /// used.
    async fn validate_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job to validate.")] input: StartJobInput,
    ) -> Result<Option<JobValidation>> {
        user(context)?;
        let mut call = MutationCall::plain(context)?;
        let (command, base) = order(&mut call, input).await?;
        let estimate = match command.spec.validate() {
            Ok(()) if !call.is_wrong() => estimated(app(context)?, &command.spec, base.as_ref()).await?,
            _ => None,
        };
        let job = command.job;
        let ended = call.execute::<Job, _>(job, &ValidateJob(command)).await?;
        let problems = match ended {
            Ended::Done { .. } | Ended::Stale(_) => Vec::new(),
            Ended::Refused(reason) => reason.user_errors(),
            Ended::Wrong(problems) => {
                // Nothing is told of what does not exist for the caller.
                return Ok(Some(JobValidation {
                    valid: false,
                    problems,
                    estimate: None,
                }));
            }
        };
        Ok(Some(JobValidation {
            valid: problems.is_empty(),
            problems,
            estimate,
        }))
    }
}
