//! Why a training is asked to save its state and end before it is done.
//!
//! One rule: the first reason counts; what follows from it is said here, once.

use std::{convert::Infallible, sync::OnceLock, time::Duration};

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

    /// Asks for it when the worker stops, or when the job has run for `left`.
    pub(super) async fn watch(&self, stop: &CancellationToken, left: Option<Duration>) -> Infallible {
        let time_up = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => self.ask(Cause::Drain),
            () = time_up => self.ask(Cause::TimeUp),
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
            Some(Cause::Drain) | None => End::drained(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let watched = Halt::default();
        let left = Some(Duration::from_millis(1));
        let watch = tokio::time::timeout(Duration::from_millis(100), watched.watch(&stop, left));
        assert!(watch.await.is_err(), "it goes on for ever");
        assert!(matches!(watched.end(), End::Failed { code, .. } if code == "RUN_TIME_USED_UP"));
    }
}
