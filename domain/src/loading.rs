//! Loading what a decision reads: from the states that are remembered, and the log's events after them.
//!
//! One rule: a state is exact or there is none.

use crate::{
    aggregate::LoadError,
    aggregate_cache::{AggregateCache, Folded},
    decision::{LoadedState, ReadSet},
    event_store::{EventStore, RecordedEvent, StoreError, StreamId},
};

/// Loads what `declare` names until it names nothing new, so that one stream may lead to another.
pub(crate) async fn load(
    store: &dyn EventStore,
    aggregates: &AggregateCache,
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
        let remembered = |stream: &StreamId| aggregates.get(stream, reads.kind(stream)?);
        let known: Vec<_> = missing.iter().map(remembered).collect();
        let after = |known: &Option<Folded>| {
            known
                .as_ref()
                .and_then(|known| known.revision)
                .map_or(0, |last| last + 1)
        };
        let wanted: Vec<_> = missing.into_iter().zip(known.iter().map(after)).collect();
        let histories = store.load_many(&wanted).await?;
        whole(&wanted, &histories)?;
        for (((stream, _), known), events) in wanted.into_iter().zip(known).zip(&histories) {
            if let Some(folded) = loaded.resume(&reads, stream.clone(), known, events)? {
                aggregates.keep(ticket, &stream, folded);
            }
        }
    }
}

/// As [`load`], with nothing remembered: for those who only look, and decide nothing that is recorded.
///
/// # Errors
/// See [`LoadError`].
pub(crate) async fn look(
    store: &dyn EventStore,
    declare: impl Fn(&LoadedState, &mut ReadSet) + Send,
) -> Result<LoadedState, LoadError> {
    load(store, &AggregateCache::default(), declare).await
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
