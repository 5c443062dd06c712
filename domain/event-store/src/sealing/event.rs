//! Sealing and opening whole events: payload leaves by their declaration, address and user agent of the
//! metadata.
//!
//! The rule: what has no personal leaf is not parsed. A leaf that belongs to nobody (the address of a
//! stranger) stays plain; should it look like a sealed one, it is marked as plain, so that nobody outside can
//! put into the log what no reader opens.

use std::collections::BTreeSet;

use domain::{
    event_registry::declaration,
    event_store::{Append, Metadata, NewEvent, RecordedEvent, StoreError, StreamId},
    id::UserId,
    personal::{ERASED, KindFields, acting_person, visit},
};
use serde_json::{Value, value::RawValue};

use super::{
    Keys,
    keys::PersonKey,
    leaf::{PLAIN, Place, SEALED, parse},
};

/// The kind that metadata is bound to.
const METADATA: &str = "metadata";

fn damaged(what: &str, path: &str, why: &str) -> StoreError {
    StoreError::Corrupt(format!("the field {path} of {what} {why}"))
}

fn guarded(text: &str) -> bool {
    text.starts_with(SEALED) || text.starts_with(PLAIN)
}

/// What of an append is to be sealed, and whose it is. Each event by write and number.
pub(super) struct Plan {
    events: Vec<(usize, usize, &'static KindFields, Value, Option<UserId>)>,
    meta: Option<Option<UserId>>,
    persons: BTreeSet<UserId>,
}

fn parsed(event: &NewEvent) -> Value {
    // A payload is JSON by its type; what cannot be a value has no fields.
    serde_json::from_str(event.data.get()).unwrap_or_default()
}

/// The person whom an event names as its subject.
fn subject(stream: &StreamId, event: &NewEvent, meta: &Metadata) -> Option<UserId> {
    declaration(&event.kind)?.person(stream, &parsed(event), meta)
}

impl Plan {
    /// Looks `append` through.
    pub(super) fn of(append: &Append) -> Self {
        let mut plan = Self {
            events: Vec::new(),
            meta: None,
            persons: BTreeSet::new(),
        };
        for (at, write) in append.writes.iter().enumerate() {
            for (number, event) in write.events.iter().enumerate() {
                let Some(fields) = declaration(&event.kind).filter(|fields| !fields.personal.is_empty())
                else {
                    continue;
                };
                let data = parsed(event);
                let person = fields.person(&write.stream, &data, &append.meta);
                plan.persons.extend(person);
                plan.events.push((at, number, fields, data, person));
            }
        }
        if append.meta.address.is_some() || append.meta.user_agent.is_some() {
            let mut events = append
                .writes
                .iter()
                .flat_map(|write| write.events.iter().map(|event| (&write.stream, event)));
            let person = acting_person(&append.meta)
                .or_else(|| events.find_map(|(stream, event)| subject(stream, event, &append.meta)));
            plan.persons.extend(person);
            plan.meta = Some(person);
        }
        plan
    }

    /// Whether there is nothing to seal.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.meta.is_none()
    }

    /// Whose keys are needed.
    pub(super) fn persons(&self) -> &BTreeSet<UserId> {
        &self.persons
    }

    /// The append with its personal leaves sealed under `keys`.
    pub(super) fn seal(self, mut append: Append, keys: &Keys) -> Result<Append, StoreError> {
        if let Some(person) = self.meta {
            let owner = around(&append.meta);
            let meta = &mut append.meta;
            for (path, leaf) in [
                ("address", &mut meta.address),
                ("user_agent", &mut meta.user_agent),
            ] {
                let place = Place {
                    owner: &owner,
                    kind: METADATA,
                    path,
                };
                if let Some(text) = leaf {
                    *text = sealed(place, person, keys, text)?;
                }
            }
        }
        for (at, number, fields, mut data, person) in self.events {
            let Some(event) = append
                .writes
                .get_mut(at)
                .and_then(|write| write.events.get_mut(number))
            else {
                continue;
            };
            let what = format!("a new event {}", event.kind);
            for pattern in fields.personal {
                let not_text = |path: &str| damaged(&what, path, "is personal and not a text");
                visit(&mut data, pattern, &not_text, &mut |path, text| {
                    let place = Place {
                        owner: event.id.as_bytes(),
                        kind: &event.kind,
                        path,
                    };
                    *text = sealed(place, person, keys, text)?;
                    Ok(())
                })?;
            }
            event.data = raw(&data)?;
        }
        Ok(append)
    }
}

fn raw(data: &Value) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(data.to_string()).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// What stands in the log for `text`.
fn sealed(place: Place<'_>, person: Option<UserId>, keys: &Keys, text: &str) -> Result<String, StoreError> {
    let Some(person) = person else {
        return Ok(match guarded(text) {
            true => format!("{PLAIN}{text}"),
            false => text.to_owned(),
        });
    };
    match keys.get(&person) {
        Some(PersonKey::Destroyed) => Ok(ERASED.to_owned()),
        Some(PersonKey::Live(key)) => place
            .seal(person, key, text)
            .ok_or_else(|| damaged("a new event", place.path, "is too large to be sealed")),
        None => Err(StoreError::Unavailable(format!(
            "there is no key of {person} yet; try again"
        ))),
    }
}

/// What the leaves of metadata are bound to: everything else in it. All events of an append share it.
fn around(meta: &Metadata) -> Vec<u8> {
    let rest = Metadata {
        address: None,
        user_agent: None,
        ..meta.clone()
    };
    serde_json::to_vec(&rest).unwrap_or_default()
}

fn marked(event: &RecordedEvent) -> Option<&'static [&'static str]> {
    let data = event.data.get();
    if !data.contains(SEALED) && !data.contains(PLAIN) {
        return None;
    }
    let personal = declaration(&event.kind)?.personal_in(event.schema_version);
    (!personal.is_empty()).then_some(personal)
}

fn named(event: &RecordedEvent) -> String {
    format!("event {} at position {}", event.kind, event.position)
}

fn meta_leaves(meta: &mut Metadata) -> [(&'static str, &mut Option<String>); 2] {
    [
        ("address", &mut meta.address),
        ("user_agent", &mut meta.user_agent),
    ]
}

/// Whose keys are needed to open `event`.
pub(super) fn persons(event: &RecordedEvent, into: &mut BTreeSet<UserId>) -> Result<(), StoreError> {
    let mut note = |path: &str, text: &str| match text.starts_with(SEALED) {
        true => {
            let (person, _) =
                parse(text).ok_or_else(|| damaged(&named(event), path, "is not a sealed text"))?;
            into.insert(person);
            Ok(())
        }
        false => Ok(()),
    };
    for (path, leaf) in [
        ("address", &event.meta.address),
        ("user_agent", &event.meta.user_agent),
    ] {
        leaf.iter().try_for_each(|text| note(path, text))?;
    }
    let Some(personal) = marked(event) else {
        return Ok(());
    };
    let mut data: Value = serde_json::from_str(event.data.get()).unwrap_or_default();
    let not_text = |path: &str| damaged(&named(event), path, "is personal and not a text");
    personal
        .iter()
        .try_for_each(|pattern| visit(&mut data, pattern, &not_text, &mut |path, text| note(path, text)))
}

/// Opens the personal leaves of `event` in place. What is plain stays.
pub(super) fn open(event: &mut RecordedEvent, keys: &Keys) -> Result<(), StoreError> {
    let what = named(event);
    if event.meta.address.as_deref().is_some_and(guarded)
        || event.meta.user_agent.as_deref().is_some_and(guarded)
    {
        let owner = around(&event.meta);
        for (path, leaf) in meta_leaves(&mut event.meta) {
            let place = Place {
                owner: &owner,
                kind: METADATA,
                path,
            };
            if let Some(text) = leaf {
                opened(place, &what, keys, text)?;
            }
        }
    }
    let Some(personal) = marked(event) else {
        return Ok(());
    };
    let mut data: Value = serde_json::from_str(event.data.get()).unwrap_or_default();
    for pattern in personal {
        let not_text = |path: &str| damaged(&what, path, "is personal and not a text");
        visit(&mut data, pattern, &not_text, &mut |path, text| {
            let place = Place {
                owner: event.id.as_bytes(),
                kind: &event.kind,
                path,
            };
            opened(place, &what, keys, text)
        })?;
    }
    event.data = raw(&data)?;
    Ok(())
}

fn opened(place: Place<'_>, what: &str, keys: &Keys, text: &mut String) -> Result<(), StoreError> {
    if let Some(plain) = text.strip_prefix(PLAIN) {
        *text = plain.to_owned();
        return Ok(());
    }
    if !text.starts_with(SEALED) {
        return Ok(());
    }
    let (person, sealed) = parse(text).ok_or_else(|| damaged(what, place.path, "is not a sealed text"))?;
    *text = match keys.get(&person) {
        Some(PersonKey::Destroyed) => ERASED.to_owned(),
        Some(PersonKey::Live(key)) => place
            .open(person, key, &sealed)
            .ok_or_else(|| damaged(what, place.path, "does not open where it lies"))?,
        None => {
            let why = format!("is sealed under a key of {person} that is gone: restore the table person_key");
            return Err(damaged(what, place.path, &why));
        }
    };
    Ok(())
}
