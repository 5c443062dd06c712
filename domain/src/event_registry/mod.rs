//! The registry of all event types that this build records, with sample values: source of the golden payloads in
//! `schema/events` and of the tests that old payloads stay readable.
//!
//! One rule: the lists are closed. An aggregate of [`list`] does not compile until its events have samples here, nor does a
//! new variant; `tests/it/contracts.rs` finds event types that are missing in the list.

mod access;
mod datasets;
mod declared;
mod identity;
mod jobs;
mod list;
mod models;
mod notifications;
mod projects;
mod requests;
mod sharing;

pub use declared::{declaration, declarations};
pub use list::{Kind, Visitor, kinds, samples, visit};

use serde_json::{Value, value::RawValue};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    aggregate::{Event, decode, encode},
    event_store::{Metadata, Position, RecordedEvent, StreamId},
};

/// A sample of an event.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `<context>.<Event>`.
    pub kind: String,
    /// Version of the payload's schema.
    pub schema_version: u16,
    /// Tells samples of one kind apart whose payloads have different shapes; `None` for the first.
    pub case: Option<&'static str>,
    /// The payload, as recorded.
    pub payload: Value,
    reread: fn(&RecordedEvent) -> Result<Value, String>,
}

impl Sample {
    /// The name of its golden payload: `<context>.<Event>.v<N>[.<case>].json`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let case = self.case.map(|case| format!(".{case}")).unwrap_or_default();
        format!("{}.v{}{case}.json", self.kind, self.schema_version)
    }
}

/// An event type with samples of its payloads. Written by `samples_of!`.
trait Sampled: Event {
    /// One of each variant, and further ones where payloads take other shapes.
    fn samples() -> Vec<Result<Sample, String>>;
}

/// Reads a payload that was recorded under `kind` in `schema_version`, and writes it as this build would.
///
/// # Errors
/// When this build knows no such kind or cannot read the payload.
pub fn reread(kind: &str, schema_version: u16, payload: &Value) -> Result<Value, String> {
    let samples = samples()?;
    let known = samples.iter().find(|sample| sample.kind == kind);
    let known = known.ok_or_else(|| format!("this build knows no event {kind}"))?;
    let recorded = recorded(kind, schema_version, payload)?;
    (known.reread)(&recorded)
}

fn recorded(kind: &str, schema_version: u16, payload: &Value) -> Result<RecordedEvent, String> {
    Ok(RecordedEvent {
        id: Uuid::nil(),
        stream: StreamId::new("sample", ""),
        revision: 0,
        position: Position(1),
        kind: kind.to_owned(),
        schema_version,
        at: OffsetDateTime::UNIX_EPOCH,
        data: RawValue::from_string(payload.to_string()).map_err(|error| error.to_string())?,
        meta: Metadata::default(),
    })
}

fn payload<E: Event>(event: &E) -> Result<(String, Value), String> {
    let encoded = encode(Uuid::nil(), event).map_err(|error| error.to_string())?;
    let data = serde_json::from_str(encoded.data.get()).map_err(|error| error.to_string())?;
    Ok((encoded.kind, data))
}

fn reread_as<E: Event>(recorded: &RecordedEvent) -> Result<Value, String> {
    let event: E = decode(recorded).map_err(|error| error.to_string())?;
    payload(&event).map(|(_, data)| data)
}

fn sample<E: Event>(case: Option<&'static str>, event: &E) -> Result<Sample, String> {
    let (kind, payload) = payload(event)?;
    Ok(Sample {
        kind,
        schema_version: encode(Uuid::nil(), event)
            .map_err(|error| error.to_string())?
            .schema_version,
        case,
        payload,
        reread: reread_as::<E>,
    })
}

/// The samples of one event type: one of each variant, and further ones where payloads take other shapes.
macro_rules! samples_of {
    ($event:ident { $($variant:ident => $value:expr),+ $(,)? } $(also { $($case:literal => $more:expr),+ $(,)? })?) => {
        impl $crate::event_registry::Sampled for $event {
            fn samples() -> Vec<Result<$crate::event_registry::Sample, String>> {
                /// Closed: a new variant does not compile until it is listed.
                fn listed(event: $event) -> $event {
                    match event {
                        $($event::$variant { .. } => event),+
                    }
                }
                vec![
                    $($crate::event_registry::sample(None, &listed($value))),+,
                    $($($crate::event_registry::sample(Some($case), &listed($more))),+)?
                ]
            }
        }
    };
}
use samples_of;

/// Id number `number` of the samples.
const fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{reread, samples};

    /// With as many names as samples, no variant's sample is of another variant.
    #[test]
    fn every_sample_has_its_own_name() {
        let samples = samples().expect("samples can be written");
        let names: BTreeSet<String> = samples.iter().map(super::Sample::file_name).collect();
        assert_eq!(names.len(), samples.len());
    }

    #[test]
    fn every_sample_survives_being_recorded() {
        for sample in samples().expect("samples can be written") {
            let again = reread(&sample.kind, sample.schema_version, &sample.payload);
            assert_eq!(again.as_ref(), Ok(&sample.payload), "{}", sample.kind);
        }
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let error = reread("access.Nothing", 1, &serde_json::json!({})).expect_err("unknown");
        assert!(error.contains("access.Nothing"), "{error}");
    }
}
