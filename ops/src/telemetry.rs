//! Logs and numbers of the process.
//!
//! One rule: set up once, by the binary; everything else only uses `tracing` and `metrics`. Logs go to
//! standard error, because standard output belongs to the answer of a command.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

pub use metrics_exporter_prometheus::PrometheusHandle;

/// Upper ends of the histogram's classes for durations, in seconds: from a cached answer to a long job step.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
/// How often old samples are folded together when nobody asks for the numbers.
const UPKEEP: Duration = Duration::from_secs(5);

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not understood; [`crate::config`] refuses such a one before.
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Another log was set up in this process.
    #[error("the log is already set up: {0}")]
    Log(String),
    /// Another recorder was set up in this process.
    #[error("metrics are already recorded elsewhere: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Starts the log. Once per process.
///
/// # Errors
/// [`TelemetryError::Filter`] for a bad level, [`TelemetryError::Log`] the second time.
pub fn init_log(log: &Log) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&log.level.0)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match log.format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    done.map_err(|error| TelemetryError::Log(error.to_string()))
}

/// Starts recording numbers, or returns the handle of the first call: idempotent. Its `render` is what
/// `/metrics` answers. Histograms named `…_seconds` have classes for durations.
///
/// # Errors
/// [`TelemetryError::Metrics`] when something else in this process records already.
pub fn metrics() -> Result<PrometheusHandle, TelemetryError> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut handle = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = handle.as_ref() {
        return Ok(handle.clone());
    }
    let fresh = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    Ok(handle.insert(fresh).clone())
}

/// Keeps the memory of recorded histograms small. Runs until it is dropped; spawn it beside the server.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::metrics;

    #[test]
    fn durations_are_histograms_and_setting_up_twice_is_fine() {
        let handle = metrics().expect("the first recorder");
        metrics::histogram!("test_work_seconds").record(0.2);
        let again = metrics().expect("the same recorder");
        let text = again.render();
        assert!(text.contains("test_work_seconds_bucket{le=\"0.25\"} 1"), "{text}");
        assert_eq!(handle.render(), text);
    }
}
