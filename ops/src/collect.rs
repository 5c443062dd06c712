//! The collector: deletes objects that no event refers to (OP-10).
//!
//! The rule: the store is listed before the log is read, what is younger than the safety age is passed over, and an
//! object is deleted after the event that names it. An upload writes an object again that is older than half a day and
//! refers to it at once, so that nothing old is about to be referred to.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context as _;
use domain::{
    audit::collection::{CollectObjects, CollectedObject, OBJECTS},
    authz::Principal,
    event_store::{EventStore, Filter, Metadata, Position},
    execute::{DEADLINE, Ports, execute},
};
use futures::TryStreamExt as _;
use objects::{Key, Listed, Objects};
use serde::Serialize;
use time::OffsetDateTime;

use crate::verify::{CATEGORIES, KEPT, NamedFiles};

/// Events read at a time.
const PAGE: usize = 2_000;
/// The least age, in hours, of what is collected: longer than anything is on its way from its last byte to its event.
pub const YOUNGEST_HOURS: u32 = 24;

/// What a run found and did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Objects of the store.
    pub objects: u64,
    /// Those that no event refers to and that are old enough: what is deleted.
    pub collected: Vec<CollectedObject>,
    /// Objects that no event refers to and that are too young.
    pub young: u64,
    /// Objects whose names are none of ours; they are left alone.
    pub foreign: Vec<String>,
    /// Objects that were written again, or taken by somebody else, between the look and the deletion.
    pub changed: u64,
}

/// What `collect` would delete: objects last written before `before` to which no event in the log refers.
///
/// # Errors
/// When the store cannot be listed or the log not be read.
pub async fn look(
    objects: &Objects,
    log: &dyn EventStore,
    before: OffsetDateTime,
) -> anyhow::Result<Collection> {
    // First: what is stored later is none of our business, whatever the log says of it.
    let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
    for part in KEPT {
        let mut found = objects.list(part);
        while let Some(object) = found
            .try_next()
            .await
            .context("the object store cannot be listed")?
        {
            listed.insert(object.key.clone(), object);
        }
    }
    let mut collection = Collection {
        objects: listed.len() as u64,
        ..Collection::default()
    };
    let named = named(log)
        .await
        .context("the log cannot be read; nothing is deleted")?;
    listed.retain(|key, _| !named.contains(key));
    for (key, object) in listed {
        if Key::recorded(&key).is_err() {
            collection.foreign.push(key);
        } else if object.written >= before {
            collection.young += 1;
        } else {
            let Listed { key, bytes, written } = object;
            collection.collected.push(CollectedObject { key, bytes, written });
        }
    }
    Ok(collection)
}

/// The keys that events refer to. An event that this build cannot read ends it: it might name any object.
async fn named(log: &dyn EventStore) -> anyhow::Result<HashSet<String>> {
    let filter = Filter {
        stream_prefixes: CATEGORIES.iter().map(|category| format!("{category}-")).collect(),
        ..Filter::default()
    };
    let (mut after, end, mut named) = (Position::START, log.head().await?, NamedFiles::default());
    while after < end {
        let page = log.read_all(after, &filter, PAGE).await?;
        for event in &page.events {
            named.add(event)?;
        }
        after = page.next;
    }
    Ok(named.iter().map(|file| file.key.clone()).collect())
}

/// Deletes what `found` lists, each after the event that names it, and leaves in it what was deleted.
///
/// # Errors
/// When an event cannot be recorded or an object not be deleted; a later run goes on from there.
pub async fn delete(objects: &Objects, ports: &Ports, found: &mut Collection) -> anyhow::Result<()> {
    let (principal, all) = (
        Principal::System("collector"),
        std::mem::take(&mut found.collected),
    );
    let meta = Metadata {
        actor: principal.actor(),
        ..Metadata::default()
    };
    for batch in all.chunks(OBJECTS) {
        let command = CollectObjects {
            objects: batch.to_vec(),
        };
        let recorded = tokio::time::timeout(DEADLINE, execute(ports, &principal, &meta, &command)).await;
        let recorded = recorded.context("the event log does not answer; nothing more is deleted")?;
        recorded.context("what is to be deleted cannot be recorded; nothing more is deleted")?;
        for object in batch {
            let CollectedObject { key, bytes, written } = object.clone();
            match objects.delete_listed(&Listed { key, bytes, written }).await {
                Ok(true) => found.collected.push(object.clone()),
                Ok(false) => found.changed += 1,
                Err(error) => return Err(error).with_context(|| format!("cannot delete {}", object.key)),
            }
        }
    }
    Ok(())
}
