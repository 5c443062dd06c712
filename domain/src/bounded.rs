//! What refusals and repeated reads may write: one event per actor, matter and hour, and a count of the others.
//!
//! One rule: nothing is left out without being counted, and nothing grows. What is recorded at most so often per actor
//! ([`Kind::most`]) is counted beyond; the count is recorded when the hour is over, with the actor's next event of that
//! kind or by [`BoundedRecording::over`], whichever comes first, and at an orderly stop. A process that is killed
//! forgets the counts of its last hour.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::payload::Leaves;
use time::{Duration, OffsetDateTime};

/// The time for which one event stands for all of its actor and matter.
pub const WINDOW: Duration = Duration::HOUR;
/// Actors that are told apart at most. Further ones share one row until others have been silent for an hour.
const ACTORS: usize = 16_384;
/// Reads that are remembered at most, of all actors. What is not remembered is recorded again.
const READS: usize = 131_072;
/// The most of a matter's name that is remembered, in bytes.
const LONGEST: usize = 256;
/// The name of the row that is shared by actors beyond [`ACTORS`].
const OTHERS: &str = "others";

/// What is recorded with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Denials of commands and reads.
    Denial,
    /// Sensitive reads.
    Read,
    /// Tokens that are not good: by the address that they came from.
    Token,
    /// Log-ins while a lock lasts: by the address that they came from.
    Locked,
}

impl Kind {
    /// Events per actor and hour at most. Reads are never left out for being many: each thing is recorded.
    #[must_use]
    pub const fn most(self) -> u32 {
        match self {
            Self::Denial | Self::Token | Self::Locked => 60,
            Self::Read => u32::MAX,
        }
    }
}

/// What was not recorded of one actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What it would have been.
    pub kind: Kind,
    /// The actor, as it was given; an address where nobody is signed in. Not for events.
    pub actor: String,
    /// How many, and when.
    pub count: Count,
}

/// How many events were left out, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// The first of them.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The last of them.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

impl Count {
    /// With what was counted elsewhere.
    fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            since: self.since.min(other.since),
            until: self.until.max(other.until),
        }
    }
}

/// What is remembered of one actor and kind.
struct Row {
    since: OffsetDateTime,
    matters: HashSet<Box<str>>,
    written: u32,
    left_out: Option<Count>,
}

impl Row {
    fn new(now: OffsetDateTime) -> Self {
        Self {
            since: now,
            matters: HashSet::new(),
            written: 0,
            left_out: None,
        }
    }

    /// Whether its hour is over, also after a clock that was set back.
    fn is_over(&self, now: OffsetDateTime) -> bool {
        (now - self.since).abs() >= WINDOW
    }

    fn count(&mut self, now: OffsetDateTime) {
        let one = Count {
            count: 1,
            since: now,
            until: now,
        };
        self.add(one);
    }

    fn add(&mut self, more: Count) {
        self.left_out = Some(self.left_out.map_or(more, |count| count.and(more)));
    }
}

#[derive(Default)]
struct Table {
    rows: HashMap<(Kind, Box<str>), Row>,
    reads: usize,
}

impl Table {
    /// The row of an actor, and whether it begins anew because its hour is over. What was left out stays in it.
    fn row(&mut self, kind: Kind, actor: &str, now: OffsetDateTime) -> (&mut Row, bool) {
        let key = (kind, Box::from(actor));
        let key = match self.rows.contains_key(&key) || self.rows.len() < ACTORS {
            true => key,
            false => (kind, Box::from(OTHERS)),
        };
        let row = self.rows.entry(key).or_insert_with(|| Row::new(now));
        let anew = row.is_over(now);
        if anew {
            if kind == Kind::Read {
                self.reads -= row.matters.len();
            }
            let left_out = row.left_out;
            *row = Row {
                left_out,
                ..Row::new(now)
            };
        }
        (row, anew)
    }
}

/// What was recorded within the hour and what was left out. Copies share it.
#[derive(Clone, Default)]
pub struct BoundedRecording(Arc<Mutex<Table>>);

impl std::fmt::Debug for BoundedRecording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundedRecording").finish_non_exhaustive()
    }
}

impl BoundedRecording {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the recording of a refusal, before it is recorded: of many at the same moment, one is recorded. `None` when
    /// it was counted instead.
    #[must_use]
    pub fn claim(&self, kind: Kind, actor: &str, matter: &str, now: OffsetDateTime) -> Option<Claimed> {
        let mut table = self.table();
        let (row, anew) = table.row(kind, actor, now);
        if row.written >= kind.most() || !row.matters.insert(cut(matter).into()) {
            row.count(now);
            return None;
        }
        row.written += 1;
        Some(Claimed {
            bounds: self.clone(),
            kind,
            actor: actor.to_owned(),
            before: if anew { row.left_out.take() } else { None },
            now,
            recorded: false,
        })
    }

    /// Whether `actor` has read `thing` within the hour, on record. If so, this read is counted.
    #[must_use]
    pub fn is_recorded(&self, actor: &str, thing: &str, now: OffsetDateTime) -> bool {
        let mut table = self.table();
        let key = (Kind::Read, Box::from(actor));
        let row = table.rows.get_mut(&key).filter(|row| !row.is_over(now));
        let found = row.filter(|row| row.matters.contains(cut(thing)));
        found.map(|row| row.count(now)).is_some()
    }

    /// Notes that a read is on record, **after** it was recorded: until then, others record it too rather than rely on an
    /// append that may fail.
    pub fn recorded(&self, actor: &str, thing: &str, now: OffsetDateTime) {
        let mut table = self.table();
        let full = table.reads >= READS;
        let (row, _) = table.row(Kind::Read, actor, now);
        if !full && row.matters.insert(cut(thing).into()) {
            table.reads += 1;
        }
    }

    /// Takes out what was left out and is to be recorded now: what is an hour old, or all of it.
    #[must_use]
    pub fn over(&self, now: OffsetDateTime, all: bool) -> Vec<LeftOut> {
        let mut table = self.table();
        let (mut found, mut forgotten) = (Vec::new(), 0);
        table.rows.retain(|(kind, actor), row| {
            let over = row.is_over(now);
            let due = |count: &mut Count| all || over || (now - count.since).abs() >= WINDOW;
            found.extend(row.left_out.take_if(due).map(|count| LeftOut {
                kind: *kind,
                actor: actor.to_string(),
                count,
            }));
            if over && *kind == Kind::Read {
                forgotten += row.matters.len();
            }
            !over
        });
        table.reads -= forgotten;
        found
    }

    /// Puts back what was taken out and could not be recorded.
    pub fn put_back(&self, lost: &LeftOut, now: OffsetDateTime) {
        let mut table = self.table();
        let (row, _) = table.row(lost.kind, &lost.actor, now);
        row.add(lost.count);
    }
}

/// What may be recorded. Dropped before it is [`Claimed::done`], because the append failed or its caller went away, it
/// counts as left out.
#[must_use = "what is not recorded counts as left out"]
#[derive(Debug)]
pub struct Claimed {
    bounds: BoundedRecording,
    kind: Kind,
    actor: String,
    before: Option<Count>,
    now: OffsetDateTime,
    recorded: bool,
}

impl Claimed {
    /// What was left out of the actor in the hours before, to be recorded in the same append.
    #[must_use]
    pub fn before(&self) -> Option<Count> {
        self.before
    }

    /// Both are recorded.
    pub fn done(mut self) {
        self.recorded = true;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let mut table = self.bounds.table();
        let (row, _) = table.row(self.kind, &self.actor, self.now);
        row.count(self.now);
        if let Some(before) = self.before {
            row.add(before);
        }
    }
}

/// The beginning of a text, as far as it is remembered.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests;
