//! What is told of calls: numbers, and a line in the log.
//!
//! One rule: labels are the purpose, which is a constant of the program, and the outcome; never a host, which people choose.
//!
//! `outbound_calls_total` and `outbound_call_seconds` by `purpose` and `outcome`, `outbound_retries_total` by `purpose`,
//! `outbound_calls_under_way`, `outbound_breakers_opened_total`. A call lasts until its answer was read or dropped.

use http::StatusCode;
use tokio::time::Instant;

use crate::{destination::Destination, error::CallError};

/// A call under way. Told when it is dropped, as given up if nothing else was said.
pub(crate) struct Recording {
    purpose: &'static str,
    destination: Destination,
    begun: Instant,
    outcome: &'static str,
}

impl Recording {
    pub(crate) fn begin(purpose: &'static str, destination: Destination) -> Self {
        metrics::gauge!("outbound_calls_under_way").increment(1.0);
        Self {
            purpose,
            destination,
            begun: Instant::now(),
            outcome: "cancelled",
        }
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.outcome = match status.as_u16() {
            ..300 => "ok",
            300..400 => "redirect",
            400..500 => "client_error",
            500.. => "server_error",
        };
    }

    pub(crate) fn failed(&mut self, error: &CallError) {
        self.outcome = error.outcome();
    }

    pub(crate) fn retried(&self) {
        metrics::counter!("outbound_retries_total", "purpose" => self.purpose).increment(1);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let labels = [("purpose", self.purpose), ("outcome", self.outcome)];
        metrics::gauge!("outbound_calls_under_way").decrement(1.0);
        metrics::counter!("outbound_calls_total", &labels).increment(1);
        metrics::histogram!("outbound_call_seconds", &labels).record(took.as_secs_f64());
        tracing::debug!(
            purpose = self.purpose,
            destination = %self.destination,
            outcome = self.outcome,
            seconds = took.as_secs_f64(),
            "outbound call"
        );
    }
}
