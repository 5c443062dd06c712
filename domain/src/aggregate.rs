//! What every context is written against: facts, and the state they fold into.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event_store::{NewEvent, RecordedEvent, StreamId};

/// A fact, named in the past tense.
///
/// Implementors are enums with `#[serde(tag = "kind", content = "data")]`, each variant renamed to its
/// stable name `<context>.<Event>`. A name is never changed or reused; a changed payload gets a new
/// [`Event::schema_version`] and an upcaster.
pub trait Event: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// Version of the payload's schema.
    fn schema_version(&self) -> u16 {
        1
    }
}

/// A payload that this build cannot read.
#[derive(Debug, thiserror::Error)]
#[error("event {kind} at position {position} cannot be read by this build: {reason}")]
pub struct DecodeError {
    kind: String,
    position: u64,
    reason: String,
}

#[derive(serde::Deserialize)]
struct Split {
    kind: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

/// Turns a fact into what the log stores.
///
/// # Errors
/// When the event cannot be written as JSON, which is a defect of its type.
pub fn encode<E: Event>(id: Uuid, event: &E) -> Result<NewEvent, serde_json::Error> {
    let split: Split = serde_json::from_str(&serde_json::to_string(event)?)?;
    let data = match split.data {
        Some(data) => data,
        None => RawValue::from_string("{}".to_owned())?,
    };
    Ok(NewEvent {
        id,
        kind: split.kind,
        schema_version: event.schema_version(),
        data,
    })
}

/// Reads a recorded fact back.
///
/// # Errors
/// When kind or payload are unknown to `E`.
pub fn decode<E: Event>(recorded: &RecordedEvent) -> Result<E, DecodeError> {
    let tagged = format!(r#"{{"kind":"{}","data":{}}}"#, recorded.kind, recorded.data.get());
    serde_json::from_str(&tagged).map_err(|error| DecodeError {
        kind: recorded.kind.clone(),
        position: recorded.position.0,
        reason: error.to_string(),
    })
}

/// State folded from one stream, and from nothing else.
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// Stable stream category, `<context>.<aggregate>`. Never renamed.
    const CATEGORY: &'static str;
    /// The facts of this stream.
    type Event: Event;

    /// Applies one recorded fact. Total: what was recorded is never refused.
    fn evolve(&mut self, event: &Self::Event);

    /// The stream of one such aggregate.
    fn stream(key: impl std::fmt::Display) -> StreamId {
        StreamId::new(Self::CATEGORY, &key.to_string())
    }
}
