//! The HTTP server of this process.
//!
//! One rule: it is built last, so no request meets a system that is only half there.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use api::{
    app::App,
    graphql::executor::SchemaExecutor,
    http::{
        graphql::{EndpointOptions, GraphqlEndpoint},
        router,
        routes::{MetricsText, Probe, Routes},
        server::{LayerOptions, ServerOptions, Shutdown, serve, with_common_layers},
    },
};
use tokio::{net::TcpListener, task::JoinHandle};
use workers::WorkerLiveness;

use super::Environment;
use crate::{config::Config, postgres::free_bytes, telemetry::PrometheusHandle};

/// Serves `app` on `listener` until `shutdown`. `workers`: those of this process, for health.
///
/// # Errors
/// When an allowed origin cannot stand in a header.
pub(super) fn start(
    config: &Config,
    environment: &Environment,
    app: &App,
    workers: Vec<WorkerLiveness>,
    metrics: PrometheusHandle,
    listener: TcpListener,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let folders = folders_of_files(config, app);
    let probe = Probe {
        started_at: environment.clock.now(),
        workers: Arc::new(move || {
            let alive = workers.iter().filter_map(WorkerLiveness::name_while_alive);
            alive.map(str::to_owned).collect()
        }),
        free_bytes: Arc::new(move || free_at(&folders)),
    };
    let metrics_text = config.metrics.enabled.then(|| {
        let text: MetricsText = Arc::new(move || metrics.render());
        text
    });
    let options = EndpointOptions {
        allowed_origins: config.http.allowed_origins.0.clone(),
        streams: config.http.streams,
        streams_per_address: config.http.streams_per_address,
        streams_per_account: config.http.streams_per_account,
        operations_per_account: config.http.operations_per_account,
        running_per_account: config.http.running_per_account,
        waiting_per_account: config.http.waiting_per_account,
        ..EndpointOptions::default()
    };
    let endpoint = GraphqlEndpoint::new(SchemaExecutor::new(app.clone()), options, shutdown.clone());
    let routes = Routes::new(app.clone(), probe, metrics_text);
    let router = with_common_layers(router(routes, endpoint), layers(config, environment)?);
    let ending = shutdown.clone();
    let options = ServerOptions {
        connections: config.http.connections,
        connections_per_address: config.http.connections_per_address,
        ..ServerOptions::default()
    };
    Ok(tokio::spawn(async move {
        serve(listener, router, options, &ending).await.map(|drained| {
            tracing::info!(?drained, "requests have ended");
        })
    }))
}

/// Where this process puts files: the data folder, and that of the objects where these lie in one.
fn folders_of_files(config: &Config, app: &App) -> Vec<PathBuf> {
    let object = objects::Key::artifact("health").ok();
    let object = object.and_then(|key| app.objects.local_path(&key));
    [Some(config.general.data_dir.clone()), object]
        .into_iter()
        .flatten()
        .collect()
}

/// The bytes that are free in the narrowest of `places`, which may be still to be made.
fn free_at(places: &[PathBuf]) -> Option<u64> {
    let there = |place: &PathBuf| place.ancestors().find(|folder| folder.is_dir()).map(free_bytes);
    let free = places.iter().filter_map(there).filter_map(Result::ok);
    free.min()
}

fn layers(config: &Config, environment: &Environment) -> anyhow::Result<LayerOptions> {
    let origins = config.http.allowed_origins.0.iter().map(|origin| origin.parse());
    Ok(LayerOptions {
        ids: environment.ids.clone(),
        cors_origins: origins
            .collect::<Result<_, _>>()
            .context("http.allowed_origins is not fit for a header")?,
        strict_transport: false,
        compression: true,
    })
}
