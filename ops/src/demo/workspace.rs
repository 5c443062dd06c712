//! The second chapter: a project with an experiment, and the shipped data uploaded.

use anyhow::Context;
use futures::stream;
use reqwest::{Method, header};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    client::accepted,
    recipe::{EXPERIMENT, PROJECT, Shipped},
    session::Session,
    show::{self, Show},
};

const ME: &str = "{ answer: me { id } }";
const PROJECTS: &str = "query($after: String) { answer: projects(first: 100, after: $after) \
     { edges { node { id name ownerId } } pageInfo { hasNextPage endCursor } } }";
const EXPERIMENTS: &str = "query($after: String) { answer: experiments(first: 100, after: $after) \
     { edges { node { id name projectId } } pageInfo { hasNextPage endCursor } } }";
const DATASETS: &str = "query($after: String) { answer: datasets(first: 20, after: $after) { edges { node \
     { id name ownerId uploadPath versions { version sha256 } } } pageInfo { hasNextPage endCursor } } }";
const CREATE_PROJECT: &str = "mutation($input: CreateProjectInput!) { answer: createProject(input: $input) \
     { created: project { id } userErrors { path message code } } }";
const CREATE_EXPERIMENT: &str = "mutation($input: CreateExperimentInput!) { answer: createExperiment(input: $input) \
     { created: experiment { id } userErrors { path message code } } }";
const CREATE_DATASET: &str = "mutation($input: CreateDatasetInput!) { answer: createDataset(input: $input) \
     { created: dataset { id uploadPath } userErrors { path message code } } }";

/// Bytes sent at once: small enough for a smooth bar.
const CHUNK: usize = 32 << 10;

#[derive(Deserialize)]
struct Me {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owned {
    id: String,
    name: String,
    owner_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Experiment {
    id: String,
    name: String,
    project_id: String,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dataset {
    id: String,
    name: String,
    owner_id: String,
    upload_path: String,
    versions: Vec<Version>,
}

/// What a mutation made.
#[derive(Deserialize)]
struct Created<T> {
    created: T,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewDataset {
    id: String,
    upload_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Uploaded {
    version: u32,
    sha256: String,
    samples: u64,
    token_estimate: u64,
}

/// A version of a dataset.
pub(super) struct Data {
    /// The dataset's id.
    pub(super) id: String,
    /// The version.
    pub(super) version: u32,
}

/// Finds the demonstration's experiment, or makes it and its project; returns its id.
pub(super) async fn experiment(session: &Session, show: &Show) -> anyhow::Result<String> {
    let me: Me = session.query(ME, Value::Null).await?;
    let projects: Vec<Owned> = session.list(PROJECTS, json!({})).await?;
    let found = projects
        .into_iter()
        .find(|project| project.name == PROJECT && project.owner_id == me.id);
    let project = match found {
        Some(project) => project.id,
        None => {
            let input = json!({ "name": PROJECT, "description": "Made by the demonstration." });
            let made: Created<Id> = session
                .change(CREATE_PROJECT, input)
                .await
                .context("creating the project")?;
            made.created.id
        }
    };
    let experiments: Vec<Experiment> = session.list(EXPERIMENTS, json!({})).await?;
    let found = experiments
        .into_iter()
        .find(|known| known.name == EXPERIMENT && known.project_id == project);
    let experiment = match found {
        Some(experiment) => experiment.id,
        None => {
            let input = json!({ "projectId": project, "name": EXPERIMENT });
            let made: Created<Id> = session
                .change(CREATE_EXPERIMENT, input)
                .await
                .context("creating the experiment")?;
            made.created.id
        }
    };
    show.line(&format!(
        "  Project “{PROJECT}” with the experiment “{EXPERIMENT}”."
    ))?;
    Ok(experiment)
}

/// Finds the version with exactly these bytes, or uploads them.
pub(super) async fn dataset(session: &Session, shipped: &Shipped, show: &Show) -> anyhow::Result<Data> {
    let me: Me = session.query(ME, Value::Null).await?;
    let sha256 = hex::encode(Sha256::digest(shipped.bytes));
    let datasets: Vec<Dataset> = session.list(DATASETS, json!({})).await?;
    let found = datasets
        .into_iter()
        .find(|known| known.name == shipped.name && known.owner_id == me.id);
    let (id, path) = match found {
        Some(known) => {
            if let Some(same) = known.versions.iter().find(|version| version.sha256 == sha256) {
                show.line(&format!(
                    "  “{}” is there as version {}.",
                    shipped.name, same.version
                ))?;
                return Ok(Data {
                    id: known.id,
                    version: same.version,
                });
            }
            (known.id, known.upload_path)
        }
        None => {
            let input = json!({ "name": shipped.name, "description": shipped.description });
            let made: Created<NewDataset> = session
                .change(CREATE_DATASET, input)
                .await
                .context("creating the dataset")?;
            (made.created.id, made.created.upload_path)
        }
    };
    let uploaded = upload(session, &path, shipped, &sha256, show).await;
    let uploaded = uploaded.with_context(|| format!("uploading {}", shipped.file))?;
    show.line(&format!(
        "  “{}” version {}: {} samples, about {} tokens, SHA-256 {}…",
        shipped.name,
        uploaded.version,
        uploaded.samples,
        uploaded.token_estimate,
        show::tame(&uploaded.sha256, 12).trim_end_matches('…'),
    ))?;
    Ok(Data {
        id,
        version: uploaded.version,
    })
}

async fn upload(
    session: &Session,
    path: &str,
    shipped: &Shipped,
    sha256: &str,
    show: &Show,
) -> anyhow::Result<Uploaded> {
    let total = shipped.bytes.len() as u64;
    let mut progress = show.progress(total, shipped.file)?;
    let (sent, mut sending) = tokio::sync::watch::channel(0_u64);
    let chunks = shipped.bytes.chunks(CHUNK).map(move |chunk| {
        sent.send_modify(|sent| *sent += chunk.len() as u64);
        Ok::<_, std::io::Error>(chunk)
    });
    let path = format!("{path}?fileName={}&sha256={sha256}", shipped.file);
    let token = session.token().await?;
    let request = session
        .client()
        .request(Method::POST, &path, Some(&token))?
        .header(header::CONTENT_LENGTH, total)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(reqwest::Body::wrap_stream(stream::iter(chunks)));
    let work = async {
        Ok::<_, anyhow::Error>(
            accepted(session.client().send(request).await?)
                .await?
                .json()
                .await?,
        )
    };
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            Ok(()) = sending.changed() => {
                let done = *sending.borrow_and_update();
                let words = format!("{}  {} of {}", shipped.file, show::bytes(done), show::bytes(total));
                progress.at(done, total, &words)?;
            }
            uploaded = &mut work => {
                progress.finish()?;
                return uploaded;
            }
        }
    }
}
