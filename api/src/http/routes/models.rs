//! Files of models, down.

use axum::{extract::State, http::HeaderMap, response::Response};
use domain::{audit::sensitive_read::DownloadModelFile, id::ModelId};
use objects::Key;

use super::{
    Failed, Routes, SignedIn, datasets::serve, not_found, parameters::InPath, read_failed, run_recorded,
};
use crate::{app::Caller, http::problem::Problem};

/// `GET /api/models/{id}/versions/{n}/files/{name}`: one file; recorded as a sensitive read.
pub async fn download(
    State(routes): State<Routes>,
    SignedIn(caller): SignedIn,
    InPath((model, version, file)): InPath<(String, u32, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&routes, &caller, (&model, version, file), false, &headers).await
}

/// `GET /api/models/{id}/versions/{n}/merged/{name}`: one file of the base with the adapter merged into it; recorded
/// as a sensitive read.
pub async fn download_merged(
    State(routes): State<Routes>,
    SignedIn(caller): SignedIn,
    InPath((model, version, file)): InPath<(String, u32, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&routes, &caller, (&model, version, file), true, &headers).await
}

async fn answer(
    routes: &Routes,
    caller: &Caller,
    (model, version, file): (&str, u32, String),
    merged: bool,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (app, place) = (&routes.app, routes.transfers.take(caller)?);
    let model: ModelId = model.parse().map_err(|_| not_found())?;
    let command = DownloadModelFile {
        model,
        version,
        file: file.clone(),
        merged,
    };
    let form = if merged { "merged" } else { "files" };
    let thing = format!("{model} version {version} {form}/{file}");
    let position = match run_recorded(app, caller, &thing, &command).await {
        Ok(position) => position,
        Err(Failed::Other(problem)) => return Err(problem),
        Err(Failed::Refused(_)) => return Err(not_found()),
    };
    app.progress
        .wait_for_position(position, crate::app::TIMEOUT)
        .await
        .map_err(|error| {
            tracing::error!(%error, "a model could not be read");
            Problem::unavailable("the read models are behind, try again")
        })?;
    let found = projections::models::version::find(&app.read_models, model, version)
        .await
        .map_err(|error| read_failed(&error))?;
    let found = found.ok_or_else(not_found)?;
    let (artifact, files) = match (merged, found.merged) {
        (false, _) => (found.artifact, found.files),
        (true, Some(merged)) => (merged.artifact, merged.files),
        (true, None) => return Err(not_found()),
    };
    let known = files
        .iter()
        .find(|known| known.name == file)
        .ok_or_else(not_found)?;
    let key = Key::artifact(artifact.trim_start_matches("artifacts/")).and_then(|folder| folder.join(&file));
    let key = key.map_err(|error| {
        tracing::error!(%error, "a recorded file has a name that no object can have");
        Problem::internal()
    })?;
    serve((app, caller, command), (&key, &known.sha256), headers, place).await
}
