//! Loading what a decision reads: from the states that are remembered, and the log's events after them.
//!
//! One rule: a state is exact or there is none.

use std::collections::BTreeSet;

use crate::{
    aggregate::LoadError,
    aggregate_cache::AggregateCache,
    decision::{LoadedState, ReadSet},
    event_store::{EventStore, RecordedEvent, StoreError, StreamId},
    folded::Folded,
    write_queue::Turn,
};

/// What a decision is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// What this process knows, with what it has under way; only what it does not know is loaded. The append proves the
    /// decision; one that records nothing is not proved.
    Remembered,
    /// The log as it is now.
    Log,
}

/// Loads what `declare` names until it names nothing new, so that one stream may lead to another. On what is
/// remembered, `before` (what was loaded for the same command) counts as remembered too.
pub(crate) async fn load(
    store: &dyn EventStore,
    aggregates: &AggregateCache,
    (basis, before): (Basis, &LoadedState),
    declare: impl Fn(&LoadedState, &mut ReadSet) + Send,
) -> Result<LoadedState, LoadError> {
    let mut loaded = LoadedState::default();
    loop {
        let mut reads = ReadSet::default();
        declare(&loaded, &mut reads);
        let missing = loaded.missing(&reads);
        if missing.is_empty() {
            return Ok(loaded);
        }
        let ticket = aggregates.ticket();
        let _first = first_to_load(aggregates, &reads, &missing).await;
        let mut wanted = Vec::new();
        for stream in missing {
            let kind = reads.kind(&stream);
            let known = kind.and_then(|kind| aggregates.get(&stream, kind));
            let predicted = kind
                .filter(|_| basis == Basis::Remembered)
                .and_then(|kind| aggregates.predicted().get(&stream, kind));
            let newest = predicted.as_ref().or(known.as_ref());
            match newest.or_else(|| before.folded(&stream, &reads)) {
                Some(newest) if basis == Basis::Remembered && !newest.behind => {
                    loaded.resume(&reads, stream, Some(newest.clone()), &[])?;
                }
                None if basis == Basis::Remembered && reads.is_made(&stream) => {
                    loaded.resume(&reads, stream, None, &[])?;
                }
                _ => wanted.push((stream, known)),
            }
        }
        let from = |known: &Option<Folded>| {
            let last = known.as_ref().and_then(|known| known.revision);
            last.map_or(0, |last| last + 1)
        };
        let (wanted, known): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .map(|(stream, known)| ((stream, from(&known)), known))
            .unzip();
        if wanted.is_empty() {
            continue;
        }
        let histories = store.load_many(&wanted).await?;
        whole(&wanted, &histories)?;
        for (((stream, _), known), events) in wanted.into_iter().zip(known).zip(&histories) {
            if let Some(folded) = loaded.resume(&reads, stream.clone(), known, events)? {
                aggregates.keep(ticket, &stream, folded);
            }
        }
    }
}

/// The turn to load what is unknown of `missing`; `None` for who has waited for others who loaded it. What they found is
/// remembered then, so that a long history is loaded once and not by each of its callers.
async fn first_to_load(aggregates: &AggregateCache, reads: &ReadSet, missing: &[StreamId]) -> Option<Turn> {
    let unknown = |stream: &&StreamId| {
        let kind = reads.kind(stream);
        !reads.is_made(stream) && kind.is_none_or(|kind| aggregates.get(stream, kind).is_none())
    };
    let unknown: BTreeSet<StreamId> = missing.iter().filter(unknown).cloned().collect();
    // Where too many wait already, nobody is kept from loading for itself.
    let turn = aggregates.loading().enter(unknown).ok()?;
    let is_first = turn.has_come();
    turn.come().await;
    is_first.then_some(turn)
}

/// Loads what `declare` names from the log as it is now, with nothing remembered, until it names nothing new: for those who
/// only look, and record nothing.
///
/// # Errors
/// See [`LoadError`].
pub async fn look(
    store: &dyn EventStore,
    declare: impl Fn(&LoadedState, &mut ReadSet) + Send,
) -> Result<LoadedState, LoadError> {
    let nothing = (Basis::Log, &LoadedState::default());
    load(store, &AggregateCache::default(), nothing, declare).await
}

/// Checks that each history begins where it was asked for.
fn whole(wanted: &[(StreamId, u64)], histories: &[Vec<RecordedEvent>]) -> Result<(), StoreError> {
    if histories.len() != wanted.len() {
        let (asked, answered) = (wanted.len(), histories.len());
        return Err(StoreError::Corrupt(format!(
            "{asked} streams were asked for, {answered} answered"
        )));
    }
    for ((stream, from), history) in wanted.iter().zip(histories) {
        let gap = history
            .iter()
            .zip(*from..)
            .find(|(event, revision)| event.revision != *revision);
        if let Some((_, revision)) = gap {
            return Err(StoreError::Corrupt(format!(
                "stream {stream} has no revision {revision}"
            )));
        }
    }
    Ok(())
}
