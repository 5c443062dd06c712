//! States within limits.
//!
//! One rule: what was used longest ago is dropped first, in two generations.

use std::collections::HashMap;

use crate::{event_store::StreamId, folded::Folded};

/// How much an [`AggregateCache`](crate::aggregate_cache::AggregateCache) keeps at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams.
    pub entries: usize,
    /// Bytes, roughly: payloads of the folded events, a stream counting as one mebibyte at most.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 16_384,
            bytes: 64 << 20,
        }
    }
}

/// Two generations: what is used becomes young; when the young are too many they become the old, and what was
/// old until then is dropped.
#[derive(Default)]
pub(crate) struct Kept {
    young: HashMap<StreamId, Folded>,
    young_weight: usize,
    old: HashMap<StreamId, Folded>,
    /// How often something was forgotten.
    pub(crate) forgotten: u64,
}

impl Kept {
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(crate) fn known(&self, stream: &StreamId) -> Option<&Folded> {
        self.young.get(stream).or_else(|| self.old.get(stream))
    }

    /// What is kept of `stream`, which becomes young with that.
    pub(crate) fn get(&mut self, stream: &StreamId, limits: Limits) -> Option<Folded> {
        if let Some(folded) = self.young.get(stream) {
            return Some(folded.clone());
        }
        let (stream, folded) = self.old.remove_entry(stream)?;
        self.insert(stream, folded.clone(), limits);
        Some(folded)
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.young_weight = 0;
        self.old.clear();
    }

    pub(crate) fn outdate(&mut self, stream: &StreamId) {
        let known = self.young.get_mut(stream).or_else(|| self.old.get_mut(stream));
        if let Some(known) = known {
            known.behind = true;
        }
    }

    pub(crate) fn insert(&mut self, stream: StreamId, folded: Folded, limits: Limits) {
        self.remove(&stream);
        let weight = folded.weight();
        let full = self.young.len() >= (limits.entries / 2).max(1);
        if !self.young.is_empty() && (full || self.young_weight + weight > limits.bytes / 2) {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        self.young_weight += weight;
        self.young.insert(stream, folded);
    }

    pub(crate) fn remove(&mut self, stream: &StreamId) {
        if let Some(folded) = self.young.remove(stream) {
            self.young_weight -= folded.weight();
        }
        self.old.remove(stream);
    }
}
