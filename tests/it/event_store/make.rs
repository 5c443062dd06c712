//! Makes appends for the tests of the log.

use domain::{
    event_store::{Append, Expected, Metadata, NewEvent, StreamId, StreamWrite},
    id::{Ids, SystemIds},
};
use serde_json::value::RawValue;

/// An event with this payload.
pub(crate) fn event(data: &str) -> NewEvent {
    NewEvent {
        id: SystemIds.next(),
        kind: "test.Counted".to_owned(),
        schema_version: 1,
        data: RawValue::from_string(data.to_owned()).expect("the payload is JSON"),
    }
}

/// A stream of the tests.
pub(crate) fn stream(key: &str) -> StreamId {
    StreamId::new("test.counter", key)
}

/// One stream's share.
pub(crate) fn write(key: &str, expected: Expected, events: Vec<NewEvent>) -> StreamWrite {
    StreamWrite {
        stream: stream(key),
        expected,
        events,
    }
}

/// An append over several streams.
pub(crate) fn several(writes: Vec<StreamWrite>) -> Append {
    let meta = Metadata {
        actor: "user:1".to_owned(),
        request_id: Some("r-1".to_owned()),
        ..Metadata::default()
    };
    Append { writes, meta }
}

/// An append of `count` events to one stream.
pub(crate) fn append(key: &str, expected: Expected, count: usize) -> Append {
    several(vec![write(
        key,
        expected,
        (0..count).map(|n| event(&format!(r#"{{"n":{n}}}"#))).collect(),
    )])
}
