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

/// The type of a record; nothing where the server gave none.
pub(super) fn kind(record: &Recorded) -> &str {
    record.metadata.get("type").map_or("", String::as_str)
}

/// The server's time of an event, in nanoseconds since 1970; out of range when there is none.
fn created(ticks: Option<&String>) -> i128 {
    let ticks = ticks.and_then(|ticks| ticks.parse::<i64>().ok());
    ticks.map_or(i128::MAX, |ticks| i128::from(ticks) * 100)
}

/// A record as an event of ours.
///
/// # Errors
/// [`StoreError::Corrupt`], which names the position and what does not fit.
pub(super) fn from_wire(record: &Recorded) -> Result<RecordedEvent, StoreError> {
    let position = record.commit_position;
    let missing = |what| StoreError::Corrupt(format!("the event at {position} has {what}"));
    let id = record.id.as_ref().and_then(|id| id.string.parse().ok());
    let id = id.ok_or_else(|| missing("no id"))?;
    let stream = record.stream_identifier.as_ref();
    let stream = stream.and_then(|stream| std::str::from_utf8(&stream.stream_name).ok());
    let stream = stream.ok_or_else(|| missing("no stream"))?;
    let kind = Some(kind(record)).filter(|kind| !kind.is_empty());
    let kind = kind.ok_or_else(|| missing("no type"))?;
    let damaged = |what: &str| {
        let by = "was it written by another program?";
        StoreError::Corrupt(format!(
            "the event at {position} ({kind} in {stream}) {what}; {by}"
        ))
    };
    let (meta, version) = read_metadata(&record.custom_metadata).map_err(damaged)?;
    let data = std::str::from_utf8(&record.data).ok().map(str::to_owned);
    let data = data.and_then(|data| RawValue::from_string(data).ok());
    let at = OffsetDateTime::from_unix_timestamp_nanos(created(record.metadata.get(CREATED)));
    Ok(RecordedEvent {
        id,
        stream: StreamId::from_recorded(stream.to_owned()),
        revision: record.stream_revision,
        position: Position(position),
        kind: kind.to_owned(),
        schema_version: version,
        at: at.map_err(|_| damaged("has no time, or one out of range"))?,
        data: data.ok_or_else(|| damaged("has a payload that is not JSON"))?,
        meta,
    })
}

/// Metadata and schema version of an event from its properties; what is wrong with them otherwise.
fn read_metadata(properties: &[u8]) -> Result<(Metadata, u16), &'static str> {
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(properties).map_err(|_| "has no metadata of ours")?;
    fields.retain(|name, _| !name.starts_with('$'));
    let version = fields.remove(SCHEMA_VERSION);
    let version = version
        .as_ref()
        .and_then(|version| version.as_str()?.parse().ok());
    let meta = serde_json::from_value(fields.into()).map_err(|_| "has metadata that cannot be read")?;
    Ok((meta, version.ok_or("has no schema version")?))
}
