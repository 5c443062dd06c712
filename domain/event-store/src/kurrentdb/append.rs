//! Appending: one call, atomic over all streams, repeated until its outcome is known.
//!
//! The rule: every event is written at an exact revision, together with its receipt ([`super::recorded`]), whose
//! stream must be empty. So a repeated append is never recorded twice, however late an earlier try arrives,
//! and `Ok` from the server means that this very call recorded it. What a receipt stops is answered from the
//! log: the first result, or that the id is used otherwise.

use std::{collections::HashMap, collections::HashSet, sync::Arc, time::Duration};

use domain::event_store::{AppendError, Appended, Expected, StoreError, StreamId};
use uuid::Uuid;

use super::{
    failure::{Backoff, Failure},
    nodes::Nodes,
    reading::Reading,
    recorded::{RECEIPT, Receipt, properties, receipt_stream},
    wire::{
        AppendRecord, AppendRecordsRequest, ConsistencyCheck, DELETED, NO_STREAM, SchemaFormat, SchemaInfo,
        StreamStateCheck, StreamStateViolation, TOMBSTONED,
    },
};
use crate::prepared::{Prepared, PreparedEvent, PreparedWrite};

/// Receipts that are looked up at a time.
const LOOKUPS: usize = 16;
/// A revision that no stream reaches: servers keep the last one for streams that are gone.
const BEYOND: i64 = i64::MAX - 1;

/// Appends of one process.
pub(super) struct Appender {
    pub(super) nodes: Arc<Nodes>,
    pub(super) reading: Arc<Reading>,
    /// How long one call may take.
    pub(super) limit: Duration,
    /// Appends of this process that lost a race for a stream where they may stand anywhere take turns.
    pub(super) turns: tokio::sync::Mutex<()>,
}

/// Why an append is tried again.
enum RetryReason {
    /// Something passes.
    Later(String),
    /// A stream whose place was not given moved meanwhile.
    Moved,
}

enum Outcome {
    Done(Result<Appended, AppendError>),
    Retry(RetryReason),
}

/// An append with every place in it.
struct Placed<'a> {
    request: AppendRecordsRequest,
    /// Stream and revision of its last event.
    last: (&'a StreamId, u64),
    /// Where each stream stands afterwards.
    ends: HashMap<&'a str, u64>,
}

/// Refuses what PostgreSQL takes and KurrentDB does not.
pub(super) fn fits(prepared: &Prepared) -> Result<(), AppendError> {
    let malformed = |what: String| Err(AppendError::Malformed(what));
    let mut streams = HashSet::new();
    for write in &prepared.writes {
        let name = write.stream.as_str();
        if name.starts_with(['$', ':']) {
            return malformed(format!("stream {name} begins like the store's own"));
        }
        // Within one append, servers take names that differ by case alone for one.
        if !streams.insert(name.to_uppercase()) {
            return malformed(format!(
                "stream {name} stands in it twice but for the case of letters"
            ));
        }
        for PreparedEvent { kind, .. } in &write.events {
            let fits = |letter: char| letter.is_alphanumeric() || "_.$:-".contains(letter);
            if kind.starts_with(['$', ':']) || !kind.chars().all(fits) {
                return malformed(format!(
                    "kind {kind:?} has other characters than letters, digits and _ . $ : -, or begins with $ or :"
                ));
            }
        }
    }
    Ok(())
}

impl Appender {
    /// Records `prepared`; `why` is what stood in the way last.
    pub(super) async fn record(
        &self,
        prepared: &Prepared,
        why: &mut String,
    ) -> Result<Appended, AppendError> {
        let mut backoff = Backoff::default();
        let mut turn = None;
        loop {
            match self.once(prepared).await {
                Outcome::Done(answer) => return answer,
                Outcome::Retry(RetryReason::Moved) if turn.is_none() => turn = Some(self.turns.lock().await),
                Outcome::Retry(RetryReason::Moved) => {}
                Outcome::Retry(RetryReason::Later(what)) => {
                    *why = what;
                    backoff.pause().await;
                }
            }
        }
    }

    async fn once(&self, prepared: &Prepared) -> Outcome {
        match self.other_end(prepared).await {
            Ok(None) => {}
            Ok(Some(conflict)) => return done(Err(conflict)),
            Err(failure) => return failed(failure),
        }
        let placed = match self.place(prepared).await {
            Ok(placed) => placed,
            Err(failure) => return failed(failure),
        };
        match self.nodes.append(placed.request.clone(), self.limit).await {
            Ok(answer) => {
                for moved in answer.revisions {
                    let expected = placed.ends.get(moved.stream.as_str());
                    if expected.is_some_and(|end| i64::try_from(*end) != Ok(moved.revision)) {
                        return done(Err(gone(&moved.stream).into()));
                    }
                }
                self.landed(placed.last).await
            }
            Err(Failure::Violated(violations)) => self.violated(prepared, &violations).await,
            Err(failure) => failed(failure),
        }
    }

    /// Finds a place for every event: where its stream is expected, or, if it may be anywhere, where it is.
    async fn place<'a>(&self, prepared: &'a Prepared) -> Result<Placed<'a>, Failure> {
        let mut request = AppendRecordsRequest::default();
        let mut records = Vec::new();
        let mut last = None;
        let mut ends = HashMap::new();
        for PreparedWrite {
            stream,
            expected,
            events,
        } in &prepared.writes
        {
            let stands = match expected {
                Expected::NoStream => NO_STREAM,
                // Which event stands there was looked at before.
                Expected::Exact(revision) | Expected::At { revision, .. } => {
                    i64::try_from(*revision).unwrap_or(BEYOND).min(BEYOND)
                }
                Expected::Any if events.is_empty() => continue,
                Expected::Any => match self.reading.last_revision(stream).await? {
                    Some(revision) => i64::try_from(revision).unwrap_or(BEYOND),
                    None => NO_STREAM,
                },
            };
            request.checks.push(check(stream.to_string(), stands));
            let first = u64::try_from(stands.saturating_add(1)).unwrap_or_default();
            for (revision, event) in (first..).zip(events) {
                request.checks.push(check(receipt_stream(event.id), NO_STREAM));
                request.records.push(receipt(event.id, stream, revision));
                records.push(record(prepared, stream, event));
                last = Some((stream, revision));
                ends.insert(stream.as_str(), revision);
            }
        }
        // Receipts come first, so that the append ends with an event.
        request.records.append(&mut records);
        let last = last.ok_or_else(|| Failure::Unfit("it has no events".to_owned()))?;
        Ok(Placed { request, last, ends })
    }

    /// The answer for an append that was recorded, from its last event.
    async fn landed(&self, (stream, revision): (&StreamId, u64)) -> Outcome {
        match self.reading.event(stream.as_str(), revision).await {
            Ok(Some(event)) => done(Ok(Appended {
                position: event.position,
                at: event.at,
            })),
            Ok(None) => later("the append was recorded, but is not readable yet"),
            Err(failure) => failed(failure),
        }
    }

    /// The answer for an append that was not recorded now: because it is recorded already, or because a stream
    /// stands elsewhere.
    async fn violated(&self, prepared: &Prepared, violations: &[StreamStateViolation]) -> Outcome {
        let actual: HashMap<&str, i64> = violations
            .iter()
            .map(|one| (one.stream.as_str(), one.actual_state))
            .collect();
        let taken: HashSet<Uuid> = prepared
            .ids()
            .filter(|id| actual.contains_key(receipt_stream(*id).as_str()))
            .collect();
        if !taken.is_empty() {
            return self.recorded_before(prepared, &taken).await;
        }
        let mut moved = false;
        for write in &prepared.writes {
            let actual = match actual.get(write.stream.as_str()) {
                None => continue,
                Some(&(DELETED | TOMBSTONED)) => return done(Err(gone(write.stream.as_str()).into())),
                Some(&state) => u64::try_from(state).ok(),
            };
            if write.expected == Expected::Any {
                moved = true;
                continue;
            }
            let stream = write.stream.clone();
            return done(Err(AppendError::Conflict { stream, actual }));
        }
        match moved {
            true => Outcome::Retry(RetryReason::Moved),
            false => later("the server refused a check that was not asked for"),
        }
    }

    /// As the port has it: the first result, when all events are recorded as they are; a refusal otherwise.
    async fn recorded_before(&self, prepared: &Prepared, taken: &HashSet<Uuid>) -> Outcome {
        let mut wanted = Vec::new();
        for write in &prepared.writes {
            wanted.extend(write.events.iter().map(|event| (&write.stream, event)));
        }
        let mut known = wanted.clone();
        known.retain(|(_, event)| taken.contains(&event.id));
        let mut found = HashMap::new();
        for some in known.chunks(LOOKUPS) {
            let mut lookups = Vec::with_capacity(some.len());
            for (stream, event) in some {
                lookups.push(self.earlier(stream, event));
            }
            let earlier = match futures::future::try_join_all(lookups).await {
                Ok(earlier) => earlier,
                Err(failure) => return failed(failure),
            };
            for ((_, event), earlier) in some.iter().zip(earlier) {
                found.insert(event.id, earlier);
            }
        }
        let (mut last, mut used, mut fresh) = (None::<Appended>, None, false);
        for (_, event) in wanted {
            match found.get(&event.id) {
                None => fresh = true,
                Some(ExistingEvent::Unreadable) => return later("an earlier try is not readable yet"),
                Some(ExistingEvent::Other) => return done(Err(AppendError::IdReused { id: event.id })),
                Some(ExistingEvent::Same(landed)) => {
                    used = Some(event.id);
                    last = last
                        .filter(|last| last.position > landed.position)
                        .or(Some(*landed));
                }
            }
        }
        match (used, last) {
            // Part of it is recorded: it was another append that recorded that part.
            (Some(id), _) if fresh => done(Err(AppendError::IdReused { id })),
            (_, Some(landed)) => done(Ok(landed)),
            _ => later("an earlier try is not readable yet"),
        }
    }

    /// What is recorded under the id of `event`.
    async fn earlier(&self, stream: &StreamId, event: &PreparedEvent) -> Result<ExistingEvent, Failure> {
        let Some(Receipt {
            stream: lies_in,
            revision,
        }) = self.reading.receipt(event.id).await?
        else {
            return Ok(ExistingEvent::Unreadable);
        };
        let Some(found) = self.reading.event(&lies_in, revision).await? else {
            return Ok(ExistingEvent::Unreadable);
        };
        if found.id != event.id {
            let why = format!("the receipt of event {} leads to event {}", event.id, found.id);
            return Err(Failure::Corrupt(why));
        }
        let same = found.stream == *stream
            && found.kind == event.kind
            && found.schema_version == event.schema_version
            && found.data.get() == event.data.get();
        Ok(match same {
            true => ExistingEvent::Same(Appended {
                position: found.position,
                at: found.at,
            }),
            false => ExistingEvent::Other,
        })
    }

    /// Asks for an append that cannot be recorded, because no stream stands where it asks. That it is refused
    /// for this reason alone shows that the node leads, knows the call, takes writes and lets us write.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        let stream = ":probe".to_owned();
        let request = AppendRecordsRequest {
            checks: vec![check(stream.clone(), BEYOND)],
            records: vec![AppendRecord {
                record_id: None,
                properties: properties("{}", 1),
                schema: json(":probe"),
                data: b"{}".to_vec(),
                stream: Some(stream),
            }],
        };
        match self.nodes.append(request, self.limit).await {
            Err(Failure::Violated(_)) => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::Corrupt(
                "the server recorded an append whose check cannot hold".to_owned(),
            )),
        }
    }
}

/// What is recorded under an id.
enum ExistingEvent {
    Same(Appended),
    Other,
    /// Its server says that there is something, and does not show it yet.
    Unreadable,
}

fn done(answer: Result<Appended, AppendError>) -> Outcome {
    Outcome::Done(answer)
}

fn later(why: &str) -> Outcome {
    Outcome::Retry(RetryReason::Later(why.to_owned()))
}

fn failed(failure: Failure) -> Outcome {
    match failure {
        Failure::Unfit(why) => done(Err(AppendError::Malformed(format!(
            "KurrentDB refuses it: {why}"
        )))),
        failure if failure.passes() => Outcome::Retry(RetryReason::Later(failure.into_store().to_string())),
        failure => done(Err(failure.into_store().into())),
    }
}

fn gone(stream: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "stream {stream} was deleted from outside; restore the log from a backup"
    ))
}

fn check(stream: String, expected_state: i64) -> ConsistencyCheck {
    ConsistencyCheck {
        stream_state: Some(StreamStateCheck {
            stream,
            expected_state,
        }),
    }
}

fn json(name: &str) -> Option<SchemaInfo> {
    Some(SchemaInfo {
        format: SchemaFormat::Json.into(),
        name: name.to_owned(),
    })
}

fn record(prepared: &Prepared, stream: &StreamId, event: &PreparedEvent) -> AppendRecord {
    AppendRecord {
        record_id: Some(event.id.to_string()),
        properties: properties(&prepared.meta, event.schema_version),
        schema: json(&event.kind),
        data: event.data.get().as_bytes().to_vec(),
        stream: Some(stream.to_string()),
    }
}

/// Without an id of its own: a server must never take a second one for the first.
fn receipt(id: Uuid, stream: &StreamId, revision: u64) -> AppendRecord {
    let receipt = Receipt {
        stream: stream.to_string(),
        revision,
    };
    AppendRecord {
        record_id: None,
        properties: std::collections::BTreeMap::new(),
        schema: json(RECEIPT),
        data: serde_json::to_vec(&receipt).unwrap_or_default(),
        stream: Some(receipt_stream(id)),
    }
}
