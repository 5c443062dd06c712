//! Reading streams, and the log without a filter; the ends of both.
//!
//! The rule: all of it from the node that leads, so that what is acknowledged is seen.

use domain::event_store::{Filter, Page, Position, RecordedEvent, StoreError, StreamId};
use uuid::Uuid;

use super::{
    failure::Failure,
    reading::{ReadRequest, Reading},
    recorded::{Receipt, from_wire, is_event, kind, receipt_stream},
    wire::Recorded,
};

/// A page takes no further event once it has this many bytes of payload.
const PAGE_BYTES: usize = 16 << 20;

impl Reading {
    /// The events of `stream` from `from` on.
    pub(super) async fn load(&self, stream: &StreamId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        // No stream reaches further than i64::MAX.
        if i64::try_from(from).is_err() {
            return Ok(Vec::new());
        }
        let question = ReadRequest::stream_from(stream.as_str(), from);
        let found = self.ask(&question, usize::MAX, usize::MAX).await;
        let events: Vec<_> = found
            .map_err(Failure::into_store)?
            .iter()
            .map(from_wire)
            .collect::<Result<_, _>>()?;
        match (from..)
            .zip(&events)
            .find(|(revision, event)| *revision != event.revision)
        {
            Some((revision, _)) => Err(StoreError::Corrupt(format!(
                "stream {stream} has no revision {revision}; was it deleted or cut by $maxAge, $maxCount or $tb?"
            ))),
            None => Ok(events),
        }
    }

    /// The revision of the last event of `stream`.
    pub(super) async fn last_revision(&self, stream: &StreamId) -> Result<Option<u64>, Failure> {
        let question = ReadRequest::stream_backwards(stream.as_str());
        let found = self.ask(&question, 1, usize::MAX).await?;
        Ok(found.first().map(|event| event.stream_revision))
    }

    /// The event of `stream` at `revision`, if it is there.
    pub(super) async fn event(&self, stream: &str, revision: u64) -> Result<Option<RecordedEvent>, Failure> {
        let question = ReadRequest::stream_from(stream, revision);
        let found = self.ask(&question, 1, usize::MAX).await?;
        let event = found.first().map(from_wire).transpose();
        let event = event.map_err(|damage| Failure::Corrupt(damage.to_string()))?;
        Ok(event.filter(|event| event.revision == revision))
    }

    /// The receipt of `id`, if it is there.
    pub(super) async fn receipt(&self, id: Uuid) -> Result<Option<Receipt>, Failure> {
        let question = ReadRequest::stream_from(&receipt_stream(id), 0);
        let found = self.ask(&question, 1, usize::MAX).await?;
        let receipt = found
            .first()
            .map(|event| serde_json::from_slice(&event.data))
            .transpose();
        receipt.map_err(|_| Failure::Corrupt(format!("the receipt of event {id} is not readable")))
    }

    /// The position of the last event of ours.
    pub(super) async fn head(&self) -> Result<Position, Failure> {
        self.last(ReadRequest::log_backwards().ours()).await
    }

    /// The position of the last record, whosesoever.
    pub(super) async fn end(&self) -> Result<Position, Failure> {
        self.last(ReadRequest::log_backwards()).await
    }

    async fn last(&self, question: ReadRequest) -> Result<Position, Failure> {
        let found = self.ask(&question, 1, usize::MAX).await?;
        let position = |event: &Recorded| event.commit_position;
        Ok(Position(found.first().map_or(0, position)))
    }

    /// At most `limit` events of ours after `after`, whatever they are. `next` is that of the last one: a
    /// read that was cut short therefore skips nothing.
    pub(super) async fn page(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        // A read begins with the event at its position, which is known already.
        let most = limit.max(1).saturating_add(1);
        let question = ReadRequest::log_from(after.0).ours();
        let found = self.ask(&question, most, PAGE_BYTES).await;
        let mut events = Vec::new();
        for found in &found.map_err(Failure::into_store)? {
            let passes = found.commit_position > after.0 && is_event(kind(found));
            if passes && events.len() < limit.max(1) {
                events.push(from_wire(found)?);
            }
        }
        if !events.is_sorted_by(|one, next| one.position < next.position) {
            return Err(StoreError::Corrupt(format!(
                "events after {after} came out of order"
            )));
        }
        Ok(Page {
            next: events.last().map_or(after, |event| event.position),
            events,
        })
    }

    /// Whether settings of the whole log would make it forget; what it says.
    pub(super) async fn forgets(&self) -> Result<Option<String>, Failure> {
        let question = ReadRequest::stream_backwards("$$$all");
        let found = self.ask(&question, 1, usize::MAX).await?;
        let Some(settings) = found.first() else {
            return Ok(None);
        };
        let settings: serde_json::Value = serde_json::from_slice(&settings.data)
            .map_err(|error| Failure::Corrupt(format!("the settings of $all are not JSON: {error}")))?;
        let lossy = ["$maxAge", "$maxCount", "$tb"];
        let found = lossy.iter().find(|name| settings.get(name).is_some());
        Ok(found.map(|name| (*name).to_owned()))
    }
}

/// Whether a filter passes everything.
pub(super) fn passes_all(filter: &Filter) -> bool {
    *filter == Filter::default()
}
