//! What each read model makes of a fixed log: `read-models.json`.
//!
//! One rule: a fold that makes something else of the same log has a higher `VERSION`, or installations keep the rows that
//! the fold before it made. The log has one event for each golden payload, in an order that only grows at its end.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, anyhow};
use domain::{
    event_registry,
    event_store::{Metadata, Position, RecordedEvent, StreamId},
};
use projections::{
    access::directory::Rights,
    read_model::{ReadModel, Rows, row_json},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Difference, EVENTS, kind_and_version, read, samples, sorted};

/// The file of this contract.
pub(super) const FILE: &str = "read-models.json";

/// The category of every stream, and the prefix and number of the key that the samples have there: in the order in which
/// one thing needs another.
pub const STREAMS: [(&str, &str, u8); 23] = [
    ("identity.organization", "org", 2),
    ("identity.claim", "clm", 1),
    ("identity.user", "usr", 1),
    ("identity.login", "lgn", 1),
    ("identity.tokens", "tok", 1),
    ("identity.session", "ses", 3),
    ("access.role", "rol", 1),
    ("access.assignments", "usr", 1),
    ("access.administrators", "all", 1),
    ("access.ledger", "usr", 1),
    ("access.denials", "usr", 1),
    ("audit.reads", "usr", 1),
    ("audit.collections", "all", 1),
    ("projects.project", "prj", 4),
    ("projects.experiment", "exp", 5),
    ("datasets.dataset", "dst", 2),
    ("models.model", "mdl", 3),
    ("jobs.worker", "wrk", 9),
    ("jobs.job", "job", 6),
    ("jobs.progress", "job", 6),
    ("sharing.access_list", "mdl", 7),
    ("notifications.deliveries", "rea", 1),
    ("requests.request", "req", 1),
];

/// The name of the access directory, whose snapshots outlive a build as rows do.
const DIRECTORY: &str = "access.directory";

/// The contract.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contract {
    /// The golden payloads in the order in which they are recorded.
    log: Vec<String>,
    /// What each read model makes of them.
    read_models: BTreeMap<String, Made>,
}

/// What a read model makes of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// The version of the fold.
    version: i32,
    /// Events of the log.
    events: usize,
    /// SHA-256 over every row after each event that changed it.
    sha256: String,
}

/// The contract as this build makes it: what is new is recorded after what stands in `folder`.
///
/// # Errors
/// When a golden payload cannot be read or folded.
pub(super) fn contract(folder: &Path) -> Result<String> {
    let mut log = recorded(folder)?.log;
    let new: Vec<String> = names()?.into_iter().filter(|name| !log.contains(name)).collect();
    log.extend(new);
    contract_of(folder, log)
}

/// The contract over this log.
pub(super) fn contract_of(folder: &Path, log: Vec<String>) -> Result<String> {
    let events = events(folder, &log)?;
    let read_models = made(&|_| events.len(), &events)?;
    Ok(serde_json::to_string_pretty(&Contract { log, read_models })? + "\n")
}

/// The read models whose fold has changed while its version has not.
///
/// # Errors
/// When a golden payload cannot be read or folded.
pub(super) fn unraised(folder: &Path) -> Result<Vec<Difference>> {
    let before = recorded(folder)?;
    let events = events(folder, &before.log)?;
    let length = |name: &str| before.read_models.get(name).map_or(0, |made| made.events);
    let made = made(&length, &events)?;
    let unraised = made.iter().filter(|(name, now)| {
        let made = before.read_models.get(*name);
        made.is_some_and(|made| made.sha256 != now.sha256 && now.version <= made.version)
    });
    let told = unraised.map(|(name, now)| Difference {
        file: FILE.into(),
        message: format!(
            "the fold of {name} has changed: raise its VERSION above {}, or installations keep their old rows",
            now.version
        ),
    });
    Ok(told.collect())
}

fn recorded(folder: &Path) -> Result<Contract> {
    let path = folder.join(FILE);
    match path.exists() {
        true => serde_json::from_str(&read(&path)?).with_context(|| path.display().to_string()),
        false => Ok(Contract::default()),
    }
}

/// The place of a category in [`STREAMS`].
fn place(category: &str) -> Result<usize> {
    let found = STREAMS.iter().position(|(known, ..)| *known == category);
    found.ok_or_else(|| anyhow!("which keys do the streams {category} have? Say so in STREAMS"))
}

/// The categories of all kinds of events.
fn categories() -> BTreeMap<&'static str, &'static str> {
    event_registry::kinds()
        .map(|one| (one.fields.kind, one.category))
        .collect()
}

/// The golden payloads of this build, each after what it needs.
fn names() -> Result<Vec<String>> {
    let categories = categories();
    let mut placed = Vec::new();
    for sample in samples()? {
        let category = categories.get(sample.kind.as_str()).copied().unwrap_or_default();
        placed.push((place(category)?, sample.file_name()));
    }
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, name)| name).collect())
}

/// The events that the golden payloads of these names stand for.
fn events(folder: &Path, log: &[String]) -> Result<Vec<RecordedEvent>> {
    let categories = categories();
    let current: BTreeMap<String, String> = samples()?
        .into_iter()
        .map(|sample| (sample.file_name(), sample.payload.to_string()))
        .collect();
    let mut revisions: BTreeMap<StreamId, u64> = BTreeMap::new();
    let mut events = Vec::new();
    for (position, name) in (1_u64..).zip(log) {
        let data = match current.get(name) {
            Some(payload) => payload.clone(),
            None => read(&folder.join(EVENTS).join(name))?,
        };
        let (kind, schema_version) = kind_and_version(name).with_context(|| name.clone())?;
        let category = categories.get(kind).copied().unwrap_or_default();
        let (_, prefix, number) = STREAMS[place(category)?];
        let key = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 | u128::from(number));
        let stream = StreamId::new(category, &format!("{prefix}_{}", key.simple()));
        let revision = revisions.entry(stream.clone()).or_default();
        events.push(RecordedEvent {
            id: Uuid::from_u128(position.into()),
            stream,
            revision: *revision,
            position: Position(position),
            at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::try_from(position)?),
            kind: kind.to_owned(),
            schema_version,
            data: RawValue::from_string(data)?,
            meta: Metadata {
                actor: "user:golden".to_owned(),
                ..Metadata::default()
            },
        });
        *revision += 1;
    }
    Ok(events)
}

/// What each read model makes of as many of the events as `length` says of it.
fn made(length: &dyn Fn(&str) -> usize, events: &[RecordedEvent]) -> Result<BTreeMap<String, Made>> {
    struct All<'a> {
        length: &'a dyn Fn(&str) -> usize,
        events: &'a [RecordedEvent],
        made: Result<BTreeMap<String, Made>>,
    }
    impl projections::Visitor for All<'_> {
        fn visit<M: ReadModel>(&mut self) {
            let Ok(made) = &mut self.made else { return };
            let events = &self.events[..(self.length)(M::NAME).min(self.events.len())];
            match digest::<M>(events) {
                Ok(sha256) => {
                    let (version, events) = (M::VERSION, events.len());
                    made.insert(
                        M::NAME.to_owned(),
                        Made {
                            version,
                            events,
                            sha256,
                        },
                    );
                }
                Err(error) => self.made = Err(error.context(M::NAME)),
            }
        }
    }
    let made = Ok(BTreeMap::new());
    let mut all = All { length, events, made };
    projections::visit(&mut all);
    let mut made = all.made?;
    let events = &events[..length(DIRECTORY).min(events.len())];
    let directory = Made {
        version: Rights::VERSION,
        events: events.len(),
        sha256: digest_of_directory(events)?,
    };
    made.insert(DIRECTORY.to_owned(), directory);
    Ok(made)
}

/// Over what the access directory keeps in a snapshot after each event that changed it.
fn digest_of_directory(events: &[RecordedEvent]) -> Result<String> {
    let (mut rights, mut sha256) = (Rights::default(), Sha256::new());
    let mut before = Vec::new();
    for event in events {
        rights.fold(event)?;
        let kept = rights.to_bytes()?;
        if kept != before {
            sha256.update(format!("{} ", event.position));
            sha256.update(&kept);
            before = kept;
        }
    }
    Ok(hex::encode(sha256.finalize()))
}

/// Over the keys that each event may change, and every row as the event left it: the present and the past.
fn digest<M: ReadModel>(events: &[RecordedEvent]) -> Result<String> {
    let (mut rows, mut sha256) = (Rows::<M::Row>::default(), Sha256::new());
    let wanted =
        |event: &&RecordedEvent| M::CATEGORIES.is_empty() || M::CATEGORIES.contains(&event.stream.category());
    for event in events.iter().filter(wanted) {
        sha256.update(format!("{} {:?}\n", event.position, M::keys(event)?));
        M::fold(event, &mut rows)?;
        for key in rows.settle() {
            let row = sorted(rows.get(&key).map(row_json).transpose()?.unwrap_or_default());
            sha256.update(format!("{key} {row}\n"));
        }
    }
    Ok(hex::encode(sha256.finalize()))
}
