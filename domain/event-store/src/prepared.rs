//! An append made ready in its caller's task: checked against the limits, serialised and hashed.
//!
//! The rule: whatever can be refused without the log is refused here, before it takes a place in the queue.

use std::collections::HashSet;

use domain::event_store::{Append, AppendError, Expected, NewEvent, StreamId};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::integrity::{Digest, digest};

/// Longest payload of one event, in bytes.
pub const MAX_DATA: usize = 1 << 20;
/// Most events in one append.
pub const MAX_EVENTS: usize = 1_000;
/// Most bytes in one append, payloads and names together.
pub const MAX_APPEND: usize = 16 << 20;
/// Longest metadata, in bytes: it is stored with each event.
pub const MAX_META: usize = 16 << 10;
/// Longest stream name or kind, in bytes: both are indexed or filtered on.
pub const MAX_NAME: usize = 512;
/// What an event takes besides payload, metadata and names, roughly.
const OVERHEAD: usize = 200;

/// An event with its payload's hash.
#[derive(Debug)]
pub(crate) struct PreparedEvent {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) schema_version: u16,
    pub(crate) data: Box<RawValue>,
    pub(crate) data_hash: Digest,
}

/// What makes two events with one id the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    pub(crate) stream: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) schema_version: u16,
    pub(crate) data_hash: &'a Digest,
}

impl PreparedEvent {
    pub(crate) fn content<'a>(&'a self, stream: &'a StreamId) -> Content<'a> {
        Content {
            stream: stream.as_str(),
            kind: &self.kind,
            schema_version: self.schema_version,
            data_hash: &self.data_hash,
        }
    }
}

/// One stream's share of an append.
#[derive(Debug)]
pub(crate) struct PreparedWrite {
    pub(crate) stream: StreamId,
    pub(crate) expected: Expected,
    pub(crate) events: Vec<PreparedEvent>,
}

/// An append that breaks no limit.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) writes: Vec<PreparedWrite>,
    pub(crate) meta: String,
    pub(crate) meta_hash: Digest,
    /// Roughly what it takes in memory and on the wire.
    pub(crate) bytes: usize,
}

impl Prepared {
    /// Checks and hashes `append`.
    ///
    /// # Errors
    /// [`AppendError::Malformed`].
    pub(crate) fn new(append: Append) -> Result<Self, AppendError> {
        let meta = serde_json::to_string(&append.meta).map_err(|error| malformed(error.to_string()))?;
        if meta.len() > MAX_META {
            return Err(malformed(format!(
                "its metadata takes {} bytes, more than {MAX_META}",
                meta.len()
            )));
        }
        let mut streams = HashSet::new();
        let mut ids = HashSet::new();
        let mut bytes = 0;
        for write in &append.writes {
            check_name("stream", write.stream.as_str())?;
            if !streams.insert(&write.stream) {
                return Err(malformed(format!("stream {} stands in it twice", write.stream)));
            }
            for event in &write.events {
                check_event(event)?;
                if !ids.insert(event.id) {
                    return Err(malformed(format!("event id {} stands in it twice", event.id)));
                }
                bytes += event.data.get().len() + event.kind.len() + meta.len() + OVERHEAD;
            }
            bytes += write.stream.as_str().len() + OVERHEAD;
        }
        match ids.len() {
            0 => return Err(malformed("it has no events".to_owned())),
            1..=MAX_EVENTS => {}
            more => return Err(malformed(format!("it has {more} events, more than {MAX_EVENTS}"))),
        }
        if bytes > MAX_APPEND {
            return Err(malformed(format!(
                "it takes {bytes} bytes, more than {MAX_APPEND}"
            )));
        }
        let writes = append.writes.into_iter().map(PreparedWrite::from).collect();
        Ok(Self {
            writes,
            meta_hash: digest(meta.as_bytes()),
            meta,
            bytes,
        })
    }

    /// The ids of its events.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.writes
            .iter()
            .flat_map(|write| &write.events)
            .map(|event| event.id)
    }
}

impl From<domain::event_store::StreamWrite> for PreparedWrite {
    fn from(write: domain::event_store::StreamWrite) -> Self {
        let events = write.events.into_iter().map(|event| PreparedEvent {
            data_hash: digest(event.data.get().as_bytes()),
            id: event.id,
            kind: event.kind,
            schema_version: event.schema_version,
            data: event.data,
        });
        Self {
            events: events.collect(),
            stream: write.stream,
            expected: write.expected,
        }
    }
}

fn malformed(what: String) -> AppendError {
    AppendError::Malformed(what)
}

fn check_event(event: &NewEvent) -> Result<(), AppendError> {
    check_name("kind", &event.kind)?;
    if event.schema_version == 0 || i16::try_from(event.schema_version).is_err() {
        return Err(malformed(format!(
            "schema version {} is not in 1..=32767",
            event.schema_version
        )));
    }
    let length = event.data.get().len();
    if length > MAX_DATA {
        return Err(malformed(format!(
            "the data of event {} takes {length} bytes, more than {MAX_DATA}",
            event.id
        )));
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), AppendError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(malformed(format!(
            "a {what} name takes {} bytes, not 1..={MAX_NAME}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(malformed(format!(
            "a {what} name holds a control character: {name:?}"
        )));
    }
    Ok(())
}
