//! Why a training is asked to save its state and end before it is done.
//!
//! One rule: the first reason counts; what follows from it is said here, once.

use std::{convert::Infallible, sync::OnceLock, time::Duration};

use domain::access::quota::GpuHoursExceeded;
use tokio_util::sync::CancellationToken;

use crate::end::End;

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
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
pub(super) struct Halt {
    asked: CancellationToken,
    cause: OnceLock<Cause>,
}

impl Halt {
    /// Asks for it.
    pub(super) fn ask(&self, cause: Cause) {
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

    /// Asks for it when the worker stops, when the job has run for `left`, or when `hours` are used up.
    pub(super) async fn watch(
        &self,
        stop: &CancellationToken,
        left: Option<Duration>,
        hours: impl Future<Output = GpuHoursExceeded>,
    ) -> Infallible {
        let time_up = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => self.ask(Cause::Drain),
            () = time_up => self.ask(Cause::TimeUp),
            exceeded = hours => self.ask(Cause::GpuHours(exceeded)),
        }
        std::future::pending().await
    }

    /// How an attempt ends that was asked.
    pub(super) fn end(&self) -> End {
        match self.cause.get() {
            Some(Cause::Pause) => End::Interrupted {
                cause: "the job is paused".to_owned(),
                counts: false,
            },
            Some(Cause::TimeUp) => End::failed(
                "RUN_TIME_USED_UP",
                "the job has run as long as it may; its newest checkpoint is kept: restart it to go on from there, \
                 or clone it with a higher maxRunSeconds",
            ),
            // It waits for a processor, the next month or a higher quota.
            Some(Cause::GpuHours(exceeded)) => End::Interrupted {
                cause: exceeded.to_string(),
                counts: false,
            },
            Some(Cause::Drain) | None => End::drained(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use domain::access::quota::GpuHoursExceeded;
    use tokio_util::sync::CancellationToken;

    use super::{Cause, Halt};
    use crate::end::End;

    #[tokio::test]
    async fn the_first_reason_counts() {
        let (halt, stop) = (Halt::default(), CancellationToken::new());
        assert!(!halt.is_asked());
        halt.ask(Cause::Pause);
        halt.ask(Cause::TimeUp);
        assert!(matches!(halt.end(), End::Interrupted { counts: false, cause } if cause.contains("paused")));
        let (watched, soon) = (Halt::default(), Duration::from_millis(1));
        let watch = watched.watch(&stop, Some(soon), pending());
        let watch = tokio::time::timeout(Duration::from_millis(100), watch);
        assert!(watch.await.is_err(), "it goes on for ever");
        assert!(matches!(watched.end(), End::Failed { code, .. } if code == "RUN_TIME_USED_UP"));
    }

    /// QU-1: the job waits then, and it was not the worker's fault.
    #[tokio::test]
    async fn without_gpu_hours_an_attempt_is_interrupted() {
        let (halt, stop) = (Halt::default(), CancellationToken::new());
        let hours = async {
            GpuHoursExceeded {
                limit: 2,
                used: 7_200_000,
            }
        };
        let watch = tokio::time::timeout(Duration::from_millis(100), halt.watch(&stop, None, hours));
        assert!(watch.await.is_err(), "it goes on for ever");
        assert!(halt.is_asked());
        assert!(
            matches!(halt.end(), End::Interrupted { counts: false, cause } if cause.contains("2.0 of 2"))
        );
    }
}
