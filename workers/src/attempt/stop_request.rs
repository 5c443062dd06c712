//! Stop requests: why a training is asked to save its state and end early.
//!
//! One rule: the first reason counts.

use std::{convert::Infallible, sync::OnceLock, time::Duration};

use domain::access::quota::GpuHoursExceeded;
use tokio_util::sync::CancellationToken;

use super::outcome::AttemptOutcome;

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The worker goes.
    Drain,
    /// Somebody wants the job paused (JB-3).
    Pause,
    /// It has run as long as it may (JB-6).
    TimeUp,
    /// Its owner has no GPU hours left (QU-1).
    GpuHours(GpuHoursExceeded),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StopRequest {
    asked: CancellationToken,
    cause: OnceLock<StopReason>,
}

impl StopRequest {
    /// Asks for it.
    pub(super) fn ask(&self, cause: StopReason) {
        // A later reason changes nothing.
        let _ = self.cause.set(cause);
        self.asked.cancel();
    }

    /// Whether it was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Waits until it is asked for.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Asks for it when the worker stops, when the job has run for `left`, or when `quota_exceeded` are used up.
    pub(super) async fn watch(
        &self,
        stop: &CancellationToken,
        left: Option<Duration>,
        quota_exceeded: impl Future<Output = GpuHoursExceeded>,
    ) -> Infallible {
        let time_up = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => self.ask(StopReason::Drain),
            () = time_up => self.ask(StopReason::TimeUp),
            exceeded = quota_exceeded => self.ask(StopReason::GpuHours(exceeded)),
        }
        std::future::pending().await
    }

    /// How an attempt ends that was asked.
    pub(super) fn end(&self) -> AttemptOutcome {
        match self.cause.get() {
            Some(StopReason::Pause) => AttemptOutcome::Interrupted {
                cause: "the job is paused".to_owned(),
                counts: false,
            },
            Some(StopReason::TimeUp) => AttemptOutcome::failed(
                "RUN_TIME_USED_UP",
                "the job has run as long as it may; its newest checkpoint is kept: restart it to go on from there, \
                 or clone it with a higher maxRunSeconds",
            ),
            // It waits for a processor, the next month or a higher quota.
            Some(StopReason::GpuHours(exceeded)) => AttemptOutcome::Interrupted {
                cause: exceeded.to_string(),
                counts: false,
            },
            Some(StopReason::Drain) | None => AttemptOutcome::drained(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use domain::access::quota::GpuHoursExceeded;
    use tokio_util::sync::CancellationToken;

    use super::{StopReason, StopRequest};
    use crate::attempt::outcome::AttemptOutcome;

    #[tokio::test]
    async fn the_first_reason_counts() {
        let (stop_request, stop) = (StopRequest::default(), CancellationToken::new());
        assert!(!stop_request.is_asked());
        stop_request.ask(StopReason::Pause);
        stop_request.ask(StopReason::TimeUp);
        assert!(
            matches!(stop_request.end(), AttemptOutcome::Interrupted { counts: false, cause } if cause.contains("paused"))
        );
        let (watched, soon) = (StopRequest::default(), Duration::from_millis(1));
        let watch = watched.watch(&stop, Some(soon), pending());
        let watch = tokio::time::timeout(Duration::from_millis(100), watch);
        assert!(watch.await.is_err(), "it goes on for ever");
        assert!(matches!(watched.end(), AttemptOutcome::Failed { code, .. } if code == "RUN_TIME_USED_UP"));
    }

    /// QU-1: the job waits then, and it was not the worker's fault.
    #[tokio::test]
    async fn without_gpu_hours_an_attempt_is_interrupted() {
        let (stop_request, stop) = (StopRequest::default(), CancellationToken::new());
        let quota_exceeded = async {
            GpuHoursExceeded {
                limit: 2,
                used: 7_200_000,
            }
        };
        let watch = tokio::time::timeout(
            Duration::from_millis(100),
            stop_request.watch(&stop, None, quota_exceeded),
        );
        assert!(watch.await.is_err(), "it goes on for ever");
        assert!(stop_request.is_asked());
        assert!(
            matches!(stop_request.end(), AttemptOutcome::Interrupted { counts: false, cause } if cause.contains("2.0 of 2"))
        );
    }
}
