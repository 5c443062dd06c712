//! Logs and numbers of the process.
//!
//! One rule: set up once, by the binary; everything else only uses `tracing` and `metrics`. Logs go to
//! standard error, because standard output belongs to the answer of a command. Values are shown on one line, with
//! what steers a terminal escaped: they hold texts of users, models and servers.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::text::on_one_line;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    fmt::{FormatFields, format::debug_fn},
};

use crate::config::{Log, LogFormat};
use crate::output::Complaint;

pub use metrics_exporter_prometheus::PrometheusHandle;

/// Upper ends of the histogram's classes for durations, in seconds: from a cached answer to a long job step.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
/// How often samples are folded together when nobody asks for the numbers.
pub const UPKEEP: Duration = Duration::from_secs(5);

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
        // It would tell so on the same standard error, and panic where that is closed.
        .log_internal_errors(false);
    let done = match log.format {
        LogFormat::Human => builder
            .with_ansi(std::io::stderr().is_terminal())
            .fmt_fields(fields())
            .with_writer(std::io::stderr)
            .try_init(),
        LogFormat::Json => builder
            .with_writer(|| Complaint)
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    done.map_err(|error| TelemetryError::Log(error.to_string()))
}

/// How the fields of an event stand in the log for people: the message, then `name=value`.
fn fields() -> impl for<'writer> FormatFields<'writer> {
    debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        let value = on_one_line(&value);
        match field.name() {
            "message" => write!(writer, "{value}"),
            // Where a record of another logging library came from stands in front already.
            name if name.starts_with("log.") => Ok(()),
            name => write!(writer, "{}={value}", name.trim_start_matches("r#")),
        }
    })
    .delimited(" ")
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

/// Folds the samples of histograms into their classes each time that `every` has passed, so that no more of them are in
/// memory than were recorded since, whether or not anybody asks for the numbers. Ends when `stop` is cancelled; a
/// failure is logged, and the next round goes on. Rounds are counted as `metrics_upkeeps_total`.
pub fn start_upkeep(handle: PrometheusHandle, every: Duration, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut due = tokio::time::interval_at(Instant::now() + every, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            let handle = handle.clone();
            match tokio::task::spawn_blocking(move || handle.run_upkeep()).await {
                Ok(()) => metrics::counter!("metrics_upkeeps_total").increment(1),
                Err(error) => tracing::error!(%error, "samples of metrics were not folded, trying again"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::{fields, metrics, start_upkeep};

    /// What was written.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// FR14: in messages, in fields by either format, and in spans; and nobody can forge a line.
    #[test]
    fn the_log_for_people_cannot_be_steered() {
        let (paper, hostile) = (Paper::default(), "\u{1b}[2Jx\ny\u{202e}\r");
        let writer = paper.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .fmt_fields(fields())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            let _span = tracing::info_span!("request", path = %hostile).entered();
            tracing::info!(name = %hostile, quoted = ?hostile, number = 3, "hello {hostile}");
        });
        let bytes = paper.0.lock().expect("nobody panicked").clone();
        let said = String::from_utf8(bytes).expect("text");
        assert_eq!(said.matches('\n').count(), 1, "{said:?}");
        let letters = said.trim_end().chars();
        assert!(!letters.into_iter().any(domain::text::steers), "{said:?}");
        let shown = "\\u001b[2Jx\\ny\\u202e\\r";
        assert!(said.contains(&format!("hello {shown} name={shown} ")), "{said}");
        assert!(
            said.contains("number=3") && said.contains(&format!("path={shown}")),
            "{said}"
        );
    }

    #[test]
    fn durations_are_histograms_and_setting_up_twice_is_fine() {
        let handle = metrics().expect("the first recorder");
        metrics::histogram!("test_work_seconds").record(0.2);
        let again = metrics().expect("the same recorder");
        let text = again.render();
        assert!(text.contains("test_work_seconds_bucket{le=\"0.25\"} 1"), "{text}");
        assert_eq!(handle.render(), text);
    }

    /// Whether the recorder holds samples of `name` in their classes; looking does not fold them, as `render` does.
    fn folded(handle: &PrometheusHandle, name: &str) -> bool {
        let text = format!("{handle:?}");
        let (_, folded) = text
            .split_once("distributions: ")
            .expect("the recorder shows them");
        let (folded, _) = folded
            .split_once("distribution_builder: ")
            .expect("and what makes them");
        folded.contains(name)
    }

    /// FS7: nobody asks for the numbers, and the samples go all the same, again and again, until the end.
    #[tokio::test]
    async fn samples_are_folded_without_anybody_asking() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let record = |name| metrics::with_local_recorder(&recorder, || metrics::histogram!(name).record(0.2));
        let (handle, stop) = (recorder.handle(), CancellationToken::new());
        let upkeep = start_upkeep(handle.clone(), Duration::from_millis(10), stop.clone());
        for name in ["first_seconds", "second_seconds"] {
            record(name);
            assert!(!folded(&handle, name), "still as samples");
            let begun = Instant::now();
            while !folded(&handle, name) {
                assert!(begun.elapsed() < Duration::from_secs(20), "{name}: {handle:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        stop.cancel();
        upkeep.await.expect("it ends with the system");
    }
}
