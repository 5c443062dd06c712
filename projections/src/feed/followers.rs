//! Who follows which streams, and what each has heard and not taken.
//!
//! One rule: what is told, and how far it is told, change together, so that a follower that has nothing to take has passed
//! everything that was told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::event_store::{Filter, Position, RecordedEvent};
use tokio::sync::Notify;

/// Events that a follower may have heard and not taken, before it has to read the log again.
const MOST: usize = 1_024;

/// All followers of a process.
pub(super) struct Followers(Mutex<State>);

#[derive(Default)]
struct State {
    /// Everything up to here was told.
    told: Position,
    /// By the beginning of a stream's name that they follow, and by its length: of an event, only its own beginnings are
    /// looked up.
    by_prefix: BTreeMap<usize, HashMap<String, Vec<Arc<Follower>>>>,
}

struct Follower {
    filter: Filter,
    heard: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Arc<RecordedEvent>>,
    too_much: bool,
}

/// What a follower has heard since it last asked.
pub(super) enum Heard {
    /// Of what was told up to `told`, these.
    All {
        events: Vec<Arc<RecordedEvent>>,
        told: Position,
    },
    /// More than could be kept. It hears on from after `told`.
    TooMuch { told: Position },
}

/// What a follower hears with, until it is dropped.
pub(super) struct Ear {
    followers: Arc<Followers>,
    follower: Arc<Follower>,
}

impl Followers {
    /// Nobody yet, and everything up to `told` is said.
    pub(super) fn told(told: Position) -> Self {
        let by_prefix = BTreeMap::new();
        Self(Mutex::new(State { told, by_prefix }))
    }

    /// Hears the events of `filter` that are told from now on, which come after the position.
    pub(super) fn listen(self: &Arc<Self>, filter: Filter) -> (Ear, Position) {
        let follower = Arc::new(Follower {
            filter,
            heard: Mutex::default(),
            news: Notify::new(),
        });
        let mut state = self.state();
        for prefix in prefixes(&follower.filter) {
            let of_length = state.by_prefix.entry(prefix.len()).or_default();
            let followers = of_length.entry(prefix.to_owned()).or_default();
            followers.push(Arc::clone(&follower));
        }
        let ear = Ear {
            followers: Arc::clone(self),
            follower,
        };
        (ear, state.told)
    }

    /// Hands events to those who follow them; nobody listening is no failure.
    pub(super) fn tell(&self, events: Vec<RecordedEvent>) {
        let mut state = self.state();
        for event in events {
            state.told = state.told.max(event.position);
            state.tell(&Arc::new(event));
        }
    }

    fn leave(&self, follower: &Arc<Follower>) {
        let mut state = self.state();
        for prefix in prefixes(&follower.filter) {
            state.leave(prefix, follower);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, event: &Arc<RecordedEvent>) {
        for (length, followers) in &self.by_prefix {
            let beginning = event.stream.as_str().get(..*length);
            let followers = beginning.and_then(|beginning| followers.get(beginning));
            followers
                .into_iter()
                .flatten()
                .for_each(|follower| follower.tell(event));
        }
    }

    fn leave(&mut self, prefix: &str, follower: &Arc<Follower>) {
        let Some(of_length) = self.by_prefix.get_mut(&prefix.len()) else {
            return;
        };
        if let Some(followers) = of_length.get_mut(prefix) {
            followers.retain(|other| !Arc::ptr_eq(other, follower));
            if followers.is_empty() {
                of_length.remove(prefix);
            }
        }
        if of_length.is_empty() {
            self.by_prefix.remove(&prefix.len());
        }
    }
}

/// The beginnings of streams' names that a filter asks for; none: every stream.
fn prefixes(filter: &Filter) -> impl Iterator<Item = &str> {
    let every = filter.stream_prefixes.is_empty().then_some("");
    filter.stream_prefixes.iter().map(String::as_str).chain(every)
}

impl Follower {
    fn tell(&self, event: &Arc<RecordedEvent>) {
        if !self.filter.matches(event) {
            return;
        }
        {
            let mut heard = self.heard();
            // Found by two of its beginnings, it is told once.
            let again = heard
                .events
                .last()
                .is_some_and(|last| last.position == event.position);
            if heard.too_much || again {
                return;
            }
            if heard.events.len() < MOST {
                heard.events.push(Arc::clone(event));
            } else {
                *heard = Waiting {
                    events: Vec::new(),
                    too_much: true,
                };
            }
        }
        self.news.notify_one();
    }

    fn heard(&self) -> MutexGuard<'_, Waiting> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    pub(super) fn filter(&self) -> &Filter {
        &self.follower.filter
    }

    /// Waits until there is something to hear. Dropping the future loses nothing.
    pub(super) async fn come(&self) {
        self.follower.news.notified().await;
    }

    /// What there is, which is not heard again.
    pub(super) fn hear(&self) -> Heard {
        let state = self.followers.state();
        let heard = std::mem::take(&mut *self.follower.heard());
        let (told, events) = (state.told, heard.events);
        match heard.too_much {
            true => Heard::TooMuch { told },
            false => Heard::All { events, told },
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.followers.leave(&self.follower);
    }
}
