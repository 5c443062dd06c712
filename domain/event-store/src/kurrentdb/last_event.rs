//! Which event stands at the end of a stream, for appends that go on from a certain one.
//!
//! One rule: a log is only added to, so what stands at a revision is looked at once.

use domain::event_store::{AppendError, Expected};

use super::{append::Appender, failure::Failure};
use crate::prepared::{Prepared, PreparedWrite};

impl Appender {
    /// The conflict of an append that expects another event than stands at a revision. A log is only added to, so what
    /// stands there stays.
    pub(super) async fn other_end(&self, prepared: &Prepared) -> Result<Option<AppendError>, Failure> {
        for PreparedWrite { stream, expected, .. } in &prepared.writes {
            let Expected::At { revision, id } = expected else {
                continue;
            };
            let found = self.reading.event(stream.as_str(), *revision).await?;
            if found.is_none_or(|event| event.id != *id) {
                return Ok(Some(AppendError::Conflict {
                    stream: stream.clone(),
                    actual: self.reading.last_revision(stream).await?,
                }));
            }
        }
        Ok(None)
    }
}
