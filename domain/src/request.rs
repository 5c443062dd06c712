//! What a client may send twice and have happen once (GQ-2).
//!
//! One rule: a request is recorded in the append that carries out its command, in a stream of its own that must be
//! empty. So of two that are the same, in whatever processes, one is carried out and the other answered with its result.

use uuid::Uuid;

use crate::{
    aggregate::{Aggregate, DecodeError, decode, encode, event},
    event_store::{EventStore, Expected, Position, StoreError, StreamId, StreamWrite},
    id::Ids,
};

/// A request as a client identified it. What is in here is computed by a key that clients do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A keyed hash over credential, actor, mutation and the client's id: nobody else's request has it.
    pub key: String,
    /// A keyed hash over the input, without its secrets.
    pub fingerprint: String,
    /// The id of what the command is about: what it creates or changes.
    pub entity: Uuid,
}

/// A request that was carried out. Its stream is keyed by [`Request::key`] and holds one event.
#[derive(Clone, Debug, Default)]
pub struct CompletedRequest;

/// Facts about requests.
#[event(context = "requests", subject = actor)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// A request was carried out: what it caused was recorded with this.
    #[event(name = "RequestCompleted")]
    Completed {
        /// [`Request::fingerprint`].
        #[plain]
        fingerprint: String,
        /// [`Request::entity`].
        entity: Uuid,
    },
}

impl Aggregate for CompletedRequest {
    const CATEGORY: &'static str = "requests.request";
    type Event = RequestEvent;
    fn evolve(&mut self, _: &RequestEvent) {}
}

/// What a request was answered with the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstResult {
    /// The position of its last event.
    pub position: Position,
    /// The id of what it was about.
    pub entity: Uuid,
}

/// Why there is no first result to be had.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// The id was used before, with another input.
    #[error("this request id was used before with another input")]
    Mismatch,
    /// The log contains an event that this build cannot decode.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Request {
    fn stream(&self) -> StreamId {
        CompletedRequest::stream(&self.key)
    }

    /// The first result of this request; `None` when it was not carried out yet.
    ///
    /// # Errors
    /// See [`RecallError`].
    pub async fn recall(&self, store: &dyn EventStore) -> Result<Option<FirstResult>, RecallError> {
        let events = store.load(&self.stream(), 0).await?;
        let Some(event) = events.first() else {
            return Ok(None);
        };
        let RequestEvent::Completed { fingerprint, entity } = decode(event)?;
        if fingerprint != self.fingerprint {
            return Err(RecallError::Mismatch);
        }
        let position = event.position;
        Ok(Some(FirstResult { position, entity }))
    }

    /// What records this request. It stands last in its append, so that its position is that of the result.
    pub(crate) fn completed(&self, ids: &dyn Ids) -> Result<StreamWrite, serde_json::Error> {
        let event = RequestEvent::Completed {
            fingerprint: self.fingerprint.clone(),
            entity: self.entity,
        };
        Ok(StreamWrite {
            stream: self.stream(),
            expected: Expected::NoStream,
            events: vec![encode(ids.next(), &event)?],
        })
    }
}
