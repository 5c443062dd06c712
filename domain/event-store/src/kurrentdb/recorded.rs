//! How our events lie in KurrentDB, and back.
//!
//! * The record id is the event's id, the schema name its kind, the format JSON, the data its bytes.
//! * Each field of the metadata is a property, and [`SCHEMA_VERSION`] one more. The server gives properties
//!   back as a JSON object in the custom metadata, with `$schema.name` and `$schema.format` added.
//! * Next to each event goes a *receipt*: a record of the type [`RECEIPT`] in a stream of its own, named by the
//!   event's id, that says where the event lies. KurrentDB keeps ids apart only within a stream; that the
//!   receipt's stream must be empty makes an id unique in the whole log.
//!
//! The rule: what is read back and does not fit is damage, never skipped.

use std::collections::BTreeMap;

use domain::event_store::{Metadata, Position, RecordedEvent, StoreError, StreamId};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use super::wire::{Kind, List, Null, Recorded, Struct, Value};

/// The property that holds the version of the payload's schema.
pub(super) const SCHEMA_VERSION: &str = "schema_version";
/// Where the server says when it recorded an event, in 100 ns since 1970.
const CREATED: &str = "created";
/// The type of receipts. Kinds of events may not begin with its first character, nor with `$`.
pub(super) const RECEIPT: &str = ":receipt";
/// Passes types that are neither the server's own (`$…`) nor ours (`:…`).
pub(super) const EVENTS_ONLY: &str = "^[^$:]";

/// The stream of the receipt of `id`.
pub(super) fn receipt_stream(id: Uuid) -> String {
    format!(":id-{id}")
}

/// Whether a type is that of an event of ours.
pub(super) fn is_event(kind: &str) -> bool {
    !kind.starts_with(['$', ':'])
}

/// Where an event lies.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Receipt {
    pub(super) stream: String,
    pub(super) revision: u64,
}

/// The metadata of an append as properties of its events.
pub(super) fn properties(meta: &str, schema_version: u16) -> BTreeMap<String, Value> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(meta).unwrap_or_default();
    let mut properties: BTreeMap<_, _> = fields
        .into_iter()
        .map(|(name, json)| (name, value(json)))
        .collect();
    properties.insert(
        SCHEMA_VERSION.to_owned(),
        value(serde_json::Value::String(schema_version.to_string())),
    );
    properties
}

fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::Null(Null::Null.into()),
        Json::Bool(yes) => Kind::Bool(yes),
        Json::Number(number) => Kind::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::String(text),
        Json::Array(values) => Kind::List(List {
            values: values.into_iter().map(value).collect(),
        }),
        Json::Object(fields) => Kind::Object(Struct {
            fields: fields
                .into_iter()
                .map(|(name, json)| (name, value(json)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// What both ways of reading give.
pub(super) struct Raw<'a> {
    pub(super) id: Uuid,
    pub(super) stream: &'a str,
    pub(super) revision: u64,
    pub(super) position: u64,
    pub(super) kind: &'a str,
    /// Nanoseconds since 1970.
    pub(super) at: i128,
    pub(super) data: &'a [u8],
    pub(super) custom_metadata: &'a [u8],
}

impl Raw<'_> {
    /// # Errors
    /// [`StoreError::Corrupt`], which names the position and what does not fit.
    pub(super) fn event(&self) -> Result<RecordedEvent, StoreError> {
        let damaged = |what: &str| {
            StoreError::Corrupt(format!(
                "the event at {} ({} in {}) {what}; was it written by another program?",
                self.position, self.kind, self.stream
            ))
        };
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(self.custom_metadata).map_err(|_| damaged("has no metadata of ours"))?;
        fields.retain(|name, _| !name.starts_with('$'));
        let version = fields.remove(SCHEMA_VERSION);
        let version = version
            .as_ref()
            .and_then(|version| version.as_str()?.parse().ok());
        let meta: Metadata =
            serde_json::from_value(fields.into()).map_err(|_| damaged("has metadata that cannot be read"))?;
        let data = std::str::from_utf8(self.data).ok().map(str::to_owned);
        let data = data.and_then(|data| RawValue::from_string(data).ok());
        Ok(RecordedEvent {
            id: self.id,
            stream: StreamId::from_recorded(self.stream.to_owned()),
            revision: self.revision,
            position: Position(self.position),
            kind: self.kind.to_owned(),
            schema_version: version.ok_or_else(|| damaged("has no schema version"))?,
            at: OffsetDateTime::from_unix_timestamp_nanos(self.at)
                .map_err(|_| damaged("has no time, or one out of range"))?,
            data: data.ok_or_else(|| damaged("has a payload that is not JSON"))?,
            meta,
        })
    }
}

/// An event as the official client read it. Its own notion of the time is cut to seconds.
pub(super) fn from_client(resolved: &kurrentdb::ResolvedEvent) -> Result<RecordedEvent, StoreError> {
    let event = resolved.get_original_event();
    Raw {
        id: event.id,
        stream: event.stream_id(),
        revision: event.revision,
        position: event.position.commit,
        kind: &event.event_type,
        at: created(event.metadata.get(CREATED)),
        data: &event.data,
        custom_metadata: &event.custom_metadata,
    }
    .event()
}

/// The server's time of an event, in nanoseconds since 1970; out of range when there is none.
fn created(ticks: Option<&String>) -> i128 {
    let ticks = ticks.and_then(|ticks| ticks.parse::<i64>().ok());
    ticks.map_or(i128::MAX, |ticks| i128::from(ticks) * 100)
}

/// An event as a subscription of ours got it.
pub(super) fn from_wire(event: &Recorded) -> Result<RecordedEvent, StoreError> {
    let damaged = |what| StoreError::Corrupt(format!("the event at {} has {what}", event.commit_position));
    let id = event.id.as_ref().and_then(|id| id.string.parse().ok());
    let stream = event.stream_identifier.as_ref();
    let stream = stream.and_then(|stream| std::str::from_utf8(&stream.stream_name).ok());
    Raw {
        id: id.ok_or_else(|| damaged("no id"))?,
        stream: stream.ok_or_else(|| damaged("no stream"))?,
        revision: event.stream_revision,
        position: event.commit_position,
        kind: event.metadata.get("type").ok_or_else(|| damaged("no type"))?,
        at: created(event.metadata.get(CREATED)),
        data: &event.data,
        custom_metadata: &event.custom_metadata,
    }
    .event()
}
