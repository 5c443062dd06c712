//! What every context is written against: facts, and the state they fold into.

use serde::{Serialize, de::DeserializeOwned, ser::Error as _};
use serde_json::value::RawValue;
use uuid::Uuid;

pub use event_derive::event;

use crate::{
    event_store::{EventStore, NewEvent, Position, RecordedEvent, StoreError, StreamId},
    personal::KindFields,
    upcast::{self, Upcaster},
};

/// A fact, named in the past tense.
///
/// Implementors are enums with the attribute [`macro@event`], which says all of it. They are recorded with serde's
/// `tag = "kind", content = "data"`, each variant under its stable name `<context>.<Event>`. A name is never changed or
/// reused; a changed payload gets a new version and a step from the one before.
pub trait Event: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// Each kind of this type: its version, and of every leaf of its payload whether it is personal. There
    /// is no default, so that nobody forgets to think of it.
    const FIELDS: &'static [KindFields];

    /// The steps from earlier versions; one for each kind and version before the current one.
    const UPCASTERS: &'static [Upcaster] = &[];
}

fn declared<E: Event>(kind: &str) -> Option<&'static KindFields> {
    E::FIELDS.iter().find(|fields| fields.kind == kind)
}

/// Whether payloads of `kind` hold personal data.
pub(crate) fn is_personal<E: Event>(kind: &str) -> bool {
    declared::<E>(kind).is_none_or(|fields| !fields.personal.is_empty())
}

/// A payload that this build cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// This build has no such event where it was found.
    #[error(
        "event {kind} at position {position} is of a kind that this build does not know there: run the build \
         that recorded it, or a newer one"
    )]
    UnknownKind {
        /// The event's kind.
        kind: String,
        /// Its place in the log.
        position: u64,
    },
    /// A later build recorded it.
    #[error(
        "event {kind} at position {position} has schema version {version}, and this build reads versions up \
         to {known}: run the build that recorded it, or a newer one"
    )]
    NewerVersion {
        /// The event's kind.
        kind: String,
        /// Its place in the log.
        position: u64,
        /// The version it was recorded in.
        version: u16,
        /// The highest version that this build reads.
        known: u16,
    },
    /// The payload does not have the form that its kind and version say.
    #[error("event {kind} at position {position} cannot be read by this build: {reason}")]
    Unreadable {
        /// The event's kind.
        kind: String,
        /// Its place in the log.
        position: u64,
        /// What does not fit; never a personal datum.
        reason: String,
    },
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
/// When the event cannot be written as JSON or its kind is not declared: a defect of its type.
pub fn encode<E: Event>(id: Uuid, event: &E) -> Result<NewEvent, serde_json::Error> {
    let split: Split = serde_json::from_str(&serde_json::to_string(event)?)?;
    let Some(fields) = declared::<E>(&split.kind) else {
        let undeclared = format!("the fields of {} are not declared", split.kind);
        return Err(serde_json::Error::custom(undeclared));
    };
    let data = match split.data {
        Some(data) => data,
        None => RawValue::from_string("{}".to_owned())?,
    };
    Ok(NewEvent {
        id,
        kind: split.kind,
        schema_version: fields.version,
        data,
    })
}

/// Reads a recorded fact back; an earlier version of its payload is lifted first ([`crate::upcast`]).
///
/// # Errors
/// [`DecodeError`]; what to do about it is in its words.
pub fn decode<E: Event>(recorded: &RecordedEvent) -> Result<E, DecodeError> {
    let (kind, position) = (&recorded.kind, recorded.position.0);
    let Some(fields) = declared::<E>(kind) else {
        let kind = kind.clone();
        return Err(DecodeError::UnknownKind { kind, position });
    };
    if recorded.schema_version > fields.version {
        return Err(DecodeError::NewerVersion {
            kind: kind.clone(),
            position,
            version: recorded.schema_version,
            known: fields.version,
        });
    }
    let unreadable = |reason: String| DecodeError::Unreadable {
        kind: kind.clone(),
        position,
        reason,
    };
    let read = |data: &str| {
        let tagged = format!(r#"{{"kind":"{kind}","data":{data}}}"#);
        serde_json::from_str(&tagged).map_err(|error| unreadable(misfit(fields, &error)))
    };
    if recorded.schema_version == fields.version {
        return read(recorded.data.get());
    }
    let data =
        serde_json::from_str(recorded.data.get()).map_err(|error| unreadable(misfit(fields, &error)))?;
    let lifted = upcast::lift(E::UPCASTERS, kind, recorded.schema_version, fields.version, data);
    read(&lifted.map_err(|error| unreadable(error.to_string()))?.to_string())
}

/// Why a payload does not fit, without quoting it where it may be personal.
fn misfit(fields: &KindFields, error: &serde_json::Error) -> String {
    match fields.personal {
        [] => error.to_string(),
        _ => format!("its payload does not fit at column {}", error.column()),
    }
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

/// An aggregate as the log has it.
#[derive(Clone, Debug, Default)]
pub struct Loaded<A> {
    /// What its facts fold into; the default where nothing is recorded.
    pub state: A,
    /// The position of its first fact; `None` where nothing is recorded.
    pub first: Option<Position>,
    /// The position of its last fact; [`Position::default`] where nothing is recorded.
    pub last: Position,
}

/// Why an aggregate could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log does not answer, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds what this build cannot read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl LoadError {
    /// Whether trying again may help.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Store(error) if error.passes())
    }
}

/// Reads an aggregate from the log itself, so always as of now. For those who only look: a command names what it
/// reads, and is checked against it ([`crate::execute`]).
///
/// # Errors
/// See [`LoadError`].
pub async fn load<A: Aggregate>(
    store: &dyn EventStore,
    key: impl std::fmt::Display,
) -> Result<Loaded<A>, LoadError> {
    let events = store.load(&A::stream(key), 0).await?;
    let mut loaded = Loaded::<A>::default();
    for event in &events {
        loaded.state.evolve(&decode(event)?);
        loaded.first = loaded.first.or(Some(event.position));
        loaded.last = event.position;
    }
    Ok(loaded)
}
