//! Files of models, down.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use domain::{audit::sensitive_read::DownloadModelFile, id::ModelId};
use objects::Key;

use super::{Failed, Routes, SignedIn, datasets::serve, not_found, run};
use crate::http::problem::Problem;

/// `GET /api/models/{id}/versions/{n}/files/{name}`: one file; recorded as a sensitive read.
pub async fn download(
    State(routes): State<Routes>,
    SignedIn(caller): SignedIn,
    Path((model, version, file)): Path<(String, u32, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = &routes.app;
    let model: ModelId = model.parse().map_err(|_| not_found())?;
    let command = DownloadModelFile {
        model,
        version,
        file: file.clone(),
    };
    let position = match run(app, &caller, &command).await {
        Ok(position) => position,
        Err(Failed::Other(problem)) => return Err(problem),
        Err(Failed::Refused(_)) => return Err(not_found()),
    };
    let behind = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a model could not be read");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("the read models are behind, try again")
    };
    app.progress
        .reach(position, crate::app::PATIENCE)
        .await
        .map_err(|error| behind(&error))?;
    let found = projections::models::version::find(&app.pool, model, version)
        .await
        .map_err(|error| behind(&error))?;
    let found = found.ok_or_else(not_found)?;
    let sha256 = found
        .files
        .iter()
        .find(|known| known.name == file)
        .map(|known| known.sha256.clone());
    let sha256 = sha256.ok_or_else(not_found)?;
    let key =
        Key::artifact(found.artifact.trim_start_matches("artifacts/")).and_then(|folder| folder.join(&file));
    let key = key.map_err(|error| behind(&error))?;
    serve(app, &key, &sha256, &headers).await
}
