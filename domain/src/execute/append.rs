//! The append of a decision, and what this process knows after it.
//!
//! One rule: only what was recorded as it was decided is remembered; the rest is loaded when it is needed.

use std::{
    collections::BTreeSet,
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{ExecuteError, Ports};
use crate::{
    aggregate_cache::Ticket,
    decision::{LoadedState, NewEvents},
    event_store::{
        Append, AppendError, Appended, Expected, Metadata, NewEvent, Position, RecordedEvent, StoreError,
        StreamId, StreamWrite,
    },
    folded::Folded,
    predicted::UnderWay,
    request::Request,
    write_queue::Turn,
};

/// How often an append of unknown outcome is repeated; event ids make that safe.
const RETRIES: u32 = 3;

/// Records `new_events`, and with them the request that they carry out: the position to wait for, or the stream at which
/// another writer came first. Ends `turn` once the append has begun, where what it leads to can be predicted.
pub(super) async fn record<R>(
    ports: &Ports,
    meta: &Metadata,
    (loaded, ticket): (&LoadedState, Ticket),
    new_events: NewEvents,
    request: Option<&Request>,
    turn: &mut Option<Turn>,
) -> Result<Result<Position, StreamId>, ExecuteError<R>> {
    let unlike = new_events.unlike();
    let mut writes = loaded.writes(new_events, ports.ids.as_ref());
    let completed = request.map(|request| request.completed(ports.ids.as_ref()));
    writes.extend(
        completed
            .transpose()
            .map_err(|error| ExecuteError::Defect(error.to_string()))?,
    );
    let meta = meta.clone();
    let append = Append { writes, meta };
    let (answer, under_way) = begun(ports, loaded, &append, &unlike, turn).await;
    match answer {
        Ok(appended) => {
            let predicted = under_way.as_ref();
            remember(ports, (loaded, ticket), append, appended, (&unlike, predicted));
            under_way.into_iter().for_each(UnderWay::end);
            Ok(Ok(appended.position))
        }
        Err(AppendError::Conflict { stream, actual }) => {
            // A state that is merely behind is brought up to date by the next load.
            ports.aggregates.forget_beyond(&stream, actual);
            Ok(Err(stream))
        }
        Err(AppendError::Overloaded) => Err(ExecuteError::Busy),
        Err(AppendError::Store(error)) => Err(ExecuteError::Store(error)),
        Err(error @ (AppendError::IdReused { .. } | AppendError::Malformed(_))) => {
            Err(ExecuteError::Defect(error.to_string()))
        }
    }
}

/// Begins to append, predicts what comes of it, ends `turn` with that, and waits for the answer.
async fn begun(
    ports: &Ports,
    loaded: &LoadedState,
    append: &Append,
    unlike: &BTreeSet<StreamId>,
    turn: &mut Option<Turn>,
) -> (Result<Appended, AppendError>, Option<UnderWay>) {
    let mut appending = pin!(repeated(ports, append));
    // In the order of these first polls appends are decided, so the turn may not end before it.
    if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(appending.as_mut().poll(context))).await {
        return (answer, None);
    }
    let under_way = match ports.store.keeps_order() {
        true => predicted(ports, loaded, append, unlike),
        false => None,
    };
    if under_way.is_some() {
        *turn = None;
    }
    (appending.await, under_way)
}

/// The states after `append`, as others may go on from them; `None` where they are not what is written.
fn predicted(
    ports: &Ports,
    loaded: &LoadedState,
    append: &Append,
    unlike: &BTreeSet<StreamId>,
) -> Option<UnderWay> {
    let appended = Appended {
        position: ports.store.known_head(),
        at: ports.clock.now(),
    };
    let mut states = Vec::new();
    for write in append.writes.iter().filter(|write| !write.events.is_empty()) {
        // Nobody waits for a stream that begins with this.
        if write.expected == Expected::NoStream || !loaded.holds(&write.stream) {
            continue;
        }
        if unlike.contains(&write.stream) {
            return None;
        }
        let events = recorded(write.clone(), appended)?;
        let folded = loaded.after(&write.stream, &events).ok()??;
        let unproved = write.events.last().map(|event| event.id);
        states.push((write.stream.clone(), Folded { unproved, ..folded }));
    }
    (!states.is_empty()).then(|| ports.aggregates.predicted().begin(states))
}

/// Appends; an unknown outcome is resolved by appending the same events again.
async fn repeated(ports: &Ports, append: &Append) -> Result<Appended, AppendError> {
    let mut answer = ports.store.append(append.clone()).await;
    for _ in 0..RETRIES {
        let Err(AppendError::Store(StoreError::Unavailable(_))) = answer else {
            break;
        };
        answer = ports.store.append(append.clone()).await;
    }
    ports.recording.note(&answer, ports.clock.now());
    answer
}

/// Folds what was recorded into what is remembered, without a load.
fn remember(
    ports: &Ports,
    (loaded, ticket): (&LoadedState, Ticket),
    append: Append,
    appended: Appended,
    (unlike, predicted): (&BTreeSet<StreamId>, Option<&UnderWay>),
) {
    for write in append.writes.into_iter().filter(|write| !write.events.is_empty()) {
        let stream = write.stream.clone();
        let folded = match predicted.and_then(|predicted| predicted.proved(&stream)) {
            Some(proved) => Some(proved),
            None if unlike.contains(&stream) => None,
            // An event that cannot be read is found by the next load, which says so.
            None => {
                recorded(write, appended).and_then(|events| loaded.after(&stream, &events).ok().flatten())
            }
        };
        match folded {
            Some(folded) => ports.aggregates.keep(ticket, &stream, &folded),
            None => ports.aggregates.outdate(&stream),
        }
    }
}

/// The events of `write` as they were recorded; `None` where their revisions are not known.
fn recorded(write: StreamWrite, appended: Appended) -> Option<Vec<RecordedEvent>> {
    let first = match write.expected {
        Expected::NoStream => 0,
        Expected::Exact(revision) | Expected::At { revision, .. } => revision + 1,
        Expected::Any => return None,
    };
    let stream = write.stream;
    let event = |(revision, event): (u64, NewEvent)| RecordedEvent {
        id: event.id,
        stream: stream.clone(),
        revision,
        position: appended.position,
        kind: event.kind,
        schema_version: event.schema_version,
        at: appended.at,
        data: event.data,
        meta: Metadata::default(),
    };
    Some((first..).zip(write.events).map(event).collect())
}
