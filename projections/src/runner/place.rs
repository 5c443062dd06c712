//! Where a page leaves a projection.
//!
//! One rule: it is taken over once the page is written, and not before.

use domain::event_store::Position;

use super::projection_handle::{ProjectionHandle, State};

/// Where one projection stands after a page.
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) next: Position,
    pub(super) failure: Option<Failure>,
}

/// The event that stopped a projection.
pub(super) struct Failure {
    pub(super) position: Position,
    pub(super) reason: String,
}

impl Place {
    /// Puts the projection there.
    pub(super) fn take(self, handles: &mut [ProjectionHandle]) {
        let Some(handle) = handles.get_mut(self.index) else {
            return;
        };
        handle.checkpoint = self.next;
        let waited = match handle.state {
            State::Stopped { wait, .. } => Some(wait),
            _ => None,
        };
        match self.failure {
            None => handle.state = State::Going,
            Some(failure) => {
                handle.stop(waited);
                handle.forget();
                let (projection, position, error) =
                    (handle.projector.name(), failure.position.0, failure.reason);
                match handle.outdated {
                    // The rows are of an older version; the rebuild replaces them.
                    true => {
                        tracing::info!(projection, position, error, "projection waits for its rebuild");
                    }
                    false => tracing::error!(
                        projection,
                        position,
                        error,
                        "projection stopped: it cannot fold this event, and nothing after it"
                    ),
                }
            }
        }
    }
}
