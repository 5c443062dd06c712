//! Bytes of datasets: up and down.

use std::io;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    audit::sensitive_read::DownloadDataset,
    authz::{Action, Resource},
    datasets::{
        dataset::{AddDatasetVersion, Dataset},
        format::{Format, Problem as LineProblem},
    },
    event_store::Position,
    execute::Command,
    id::{DatasetId, UploadId, UserId},
    shared, text,
};
use futures::TryStreamExt;
use objects::Key;
use serde::{Deserialize, Serialize};
use tokio_util::io::StreamReader;
use tracing::Instrument;

use super::{
    Failed, Routes, SignedIn, load_failed, not_found,
    parameters::{InPath, InQuery},
    permitted,
    permitted_bytes::while_permitted,
    range, run, run_recorded,
    transfers::Transfer,
    upload_room::{UploadRoom, over_quota},
};
use crate::{
    app::{App, Caller, TIMEOUT},
    http::problem::Problem,
    ingest::{Checked, Declared, IngestError, Ingested, ingest},
};

/// How media types of several parts begin (RFC 2046, 5.1).
const MULTIPART: &[u8] = b"multipart/";

/// What the sender says besides the bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UploadQuery {
    /// Name of the file; its ending helps to tell the format.
    #[serde(default)]
    file_name: String,
    /// `plain_text`, `chat`, `prompt_completion`, `alpaca` or `sharegpt`; told from name and content if not given.
    format: Option<String>,
    /// SHA-256 of the uncompressed bytes, to be checked.
    sha256: Option<String>,
}

/// A version that was added, or was already there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Uploaded {
    dataset_id: String,
    version: u32,
    sha256: String,
    bytes: u64,
    format: Format,
    samples: u64,
    token_estimate: u64,
    /// Position in the log, as a decimal string like everywhere.
    position: String,
}

/// The dataset as recorded, and what the access decision needs to know of it.
async fn recorded(app: &App, dataset: DatasetId) -> Result<(Dataset, Resource), Problem> {
    let loaded = shared::load::<Dataset>(app.ports.store.as_ref(), dataset).await;
    loaded.map_err(|error| load_failed(&error))
}

/// Whether the caller may add to the dataset, before a byte is read; decided again when it is recorded.
/// Returns the owner, whose quota counts.
async fn admit(app: &App, caller: &Caller, dataset: DatasetId) -> Result<Option<UserId>, Problem> {
    let (recorded, resource) = recorded(app, dataset).await?;
    permitted(app, caller, Action::DatasetsUpdate, &resource).await?;
    Ok(recorded.owner)
}

/// What query and headers say about the bytes.
fn declared(query: UploadQuery, headers: &HeaderMap) -> Result<Declared, Problem> {
    let format = query.format.map(|text| text.parse::<Format>()).transpose();
    let format = format.map_err(|error| Problem::new(StatusCode::BAD_REQUEST).detail(error.to_string()))?;
    // One that is not ASCII is no coding that there is, and is refused by its name like any other.
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let file_name = text::file_name(&query.file_name).map_err(|problem| {
        Problem::new(StatusCode::BAD_REQUEST)
            .detail("the query string has a parameter that does not fit")
            .error(problem.field, "INVALID", problem.message)
    })?;
    Ok(Declared {
        file_name,
        content_encoding: encoding,
        format,
        expected_sha256: query.sha256,
        length: headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok()),
    })
}

/// Records what was stored as a version of `dataset`, and waits until it can be read.
async fn add_version(
    app: &App,
    caller: &Caller,
    (dataset, upload): (DatasetId, UploadId),
    ingested: &Ingested,
    file_name: String,
) -> Result<Position, Problem> {
    let command = AddDatasetVersion {
        dataset,
        sha256: ingested.sha256.clone(),
        bytes: ingested.bytes,
        format: ingested.format,
        summary: ingested.summary.clone(),
        file_name,
        upload: Some(upload),
    };
    fail::fail_point!("upload.stored");
    let position = match run(app, caller, &command).await {
        Ok(position) => position,
        Err(Failed::Other(problem)) => return Err(problem),
        Err(Failed::Refused(reason)) => return Err(over_quota(&reason)),
    };
    if let Err(error) = app.progress.wait_for_position(position, TIMEOUT).await {
        // The version is recorded; only reading it back may take a moment longer.
        tracing::warn!(%error, "read models are behind after an upload");
    }
    fail::fail_point!("upload.recorded");
    Ok(position)
}

/// `POST /api/datasets/{id}/versions`: streams a file in, checks every line, and adds it as a version.
pub async fn upload(
    State(routes): State<Routes>,
    SignedIn(caller): SignedIn,
    InPath(dataset): InPath<String>,
    InQuery(query): InQuery<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let app = &routes.app;
    let place = routes.transfers.take(&caller)?;
    whole_body_is_the_file(&headers)?;
    let dataset: DatasetId = dataset.parse().map_err(|_| not_found())?;
    let owner = admit(app, &caller, dataset).await?;
    let declared = declared(query, &headers)?;
    let file_name = declared.file_name.clone();
    let reader = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let mut room = UploadRoom::new(app, &caller, dataset, owner);
    let limits = app.settings.uploads.clone();
    let checked = ingest(reader, declared, limits, &app.objects, &mut room)
        .await
        .map_err(|error| match error {
            IngestError::NoRoom(_) => room.problem().unwrap_or_else(|| refused(&error)),
            error => refused(&error),
        })?;
    let app = app.clone();
    // From here on to its end, also when the sender is gone: either a version names the object, or there is none.
    let recording = async move {
        let answer = record(&app, &caller, (dataset, room.upload()), checked, file_name).await;
        drop((room, place));
        answer
    };
    let answer = tokio::spawn(recording.in_current_span()).await;
    let uploaded = answer.map_err(|error| {
        tracing::error!(%error, "an upload was not recorded to its end");
        Problem::internal()
    })??;
    Ok((StatusCode::CREATED, Json(uploaded)).into_response())
}

/// Names the object, and records it as a version.
async fn record(
    app: &App,
    caller: &Caller,
    (dataset, upload): (DatasetId, UploadId),
    checked: Checked,
    file_name: String,
) -> Result<Uploaded, Problem> {
    let ingested = checked.publish().await.map_err(|error| refused(&error))?;
    let position = add_version(app, caller, (dataset, upload), &ingested, file_name).await?;
    let (recorded, _) = recorded(app, dataset).await?;
    Ok(uploaded(dataset, &recorded, ingested, position))
}

/// A form (RFC 7578) wraps the file in parts, whose boundaries and headers would become samples (FR11).
fn whole_body_is_the_file(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = media_type.is_some_and(|media_type| {
        let beginning = media_type.trim_ascii_start().get(..MULTIPART.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(MULTIPART))
    });
    match is_form {
        false => Ok(()),
        true => Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            .kind("multipart-unsupported", "Forms are not taken")
            .detail(
                "the body must be the file itself, not a form with the file in it; with curl write \
                 `--data-binary @FILE` instead of `-F file=@FILE`, and the file's name into the address, as \
                 `?fileName=FILE`",
            )),
    }
}

/// The answer to an upload, with the number that `recorded` gave the version.
fn uploaded(dataset: DatasetId, recorded: &Dataset, ingested: Ingested, position: Position) -> Uploaded {
    let version = recorded
        .versions
        .iter()
        .find(|version| version.sha256 == ingested.sha256);
    Uploaded {
        dataset_id: dataset.to_string(),
        version: version.map_or(0, |version| version.version),
        sha256: ingested.sha256,
        bytes: ingested.bytes,
        format: ingested.format,
        samples: ingested.summary.samples,
        token_estimate: ingested.summary.token_estimate,
        position: position.to_string(),
    }
}

fn refused(error: &IngestError) -> Problem {
    if let IngestError::Storage(source) = error {
        tracing::error!(error = %source, "an upload met a failing object store");
    }
    let kind = error.code().to_lowercase().replace('_', "-");
    let problem = Problem::new(error.status())
        .kind(kind, "Dataset refused")
        .detail(error.to_string());
    let lines = error
        .report()
        .map(|report| report.problems.as_slice())
        .unwrap_or_default();
    lines.iter().fold(problem, |problem, line: &LineProblem| {
        let place = line
            .line
            .map_or_else(|| "#".to_owned(), |number| format!("#line={number}"));
        problem.error(place, line.code.name(), line.message.clone())
    })
}

/// `GET /api/datasets/{id}/versions/{n}/content`: the bytes of a version; recorded as a sensitive read.
pub async fn download(
    State(routes): State<Routes>,
    SignedIn(caller): SignedIn,
    InPath((dataset, version)): InPath<(String, u32)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = &routes.app;
    let place = routes.transfers.take(&caller)?;
    let dataset: DatasetId = dataset.parse().map_err(|_| not_found())?;
    let thing = format!("{dataset} version {version}");
    let command = DownloadDataset { dataset, version };
    match run_recorded(app, &caller, &thing, &command).await {
        Ok(_) => {}
        Err(Failed::Other(problem)) => return Err(problem),
        Err(Failed::Refused(_)) => return Err(not_found()),
    }
    let (recorded, _) = recorded(app, dataset).await?;
    let found = recorded.version(Some(version)).ok_or_else(not_found)?;
    let key = Key::dataset(&found.sha256).map_err(|error| broken(&error))?;
    serve((app, &caller, command), (&key, &found.sha256), &headers, place).await
}

fn broken(error: &objects::ObjectsError) -> Problem {
    tracing::error!(%error, "a stored object could not be served");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .detail("the storage does not work at the moment; try again later")
}

/// Serves an object whole or in one range (RFC 9110, 14), with its hash as entity tag.
///
/// `command` permitted it, and is asked again while it goes on.
pub(super) async fn serve<C: Command + 'static>(
    (app, caller, command): (&App, &Caller, C),
    (key, sha256): (&Key, &str),
    headers: &HeaderMap,
    place: Transfer,
) -> Result<Response, Problem> {
    let size = app
        .objects
        .size(key)
        .await
        .map_err(|error| broken(&error))?
        .ok_or_else(not_found)?;
    let etag = format!("\"{sha256}\"");
    let range = match range::wanted(headers, size, &etag) {
        Ok(range) => range,
        Err(unsatisfiable) => return Ok(unsatisfiable.into_response(size)),
    };
    let partial = range.clone();
    let download = app
        .objects
        .read(key, range)
        .await
        .map_err(|error| broken(&error))?;
    let bytes = download.body.inspect_ok(move |_| {
        let _until_its_end = &place;
    });
    let bytes = bytes.map_err(io::Error::other);
    let bytes = while_permitted(bytes, app.clone(), caller.clone(), command);
    let body = Body::from_stream(bytes);
    let mut response = Response::new(body);
    let length = partial.as_ref().map_or(size, |range| range.end - range.start);
    let values = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, etag),
    ];
    for (name, value) in values {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    if let Some(range) = partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(value) = format!("bytes {}-{}/{size}", range.start, range.end - 1).parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}
