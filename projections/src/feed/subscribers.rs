//! Who follows which streams, and what each has heard and not taken.
//!
//! One rule: what is told, and how far it is told, change together, so that a subscriber that has nothing to take has passed
//! everything that was told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::event_store::{Filter, Position, RecordedEvent};
use tokio::sync::Notify;

/// Events that a subscriber may have heard and not taken, before it has to read the log again.
const MOST: usize = 1_024;

/// All subscribers of a process.
pub(super) struct Subscribers(Mutex<State>);

#[derive(Default)]
struct State {
    /// Everything up to here was told.
    told: Position,
    /// By the beginning of a stream's name that they follow, and by its length: of an event, only its own beginnings are
    /// looked up.
    by_prefix: BTreeMap<usize, HashMap<String, Vec<Arc<Subscriber>>>>,
}

struct Subscriber {
    filter: Filter,
    heard: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Arc<RecordedEvent>>,
    too_much: bool,
}

/// What a subscriber has heard since it last asked.
pub(super) enum Heard {
    /// Of what was told up to `told`, these.
    All {
        events: Vec<Arc<RecordedEvent>>,
        told: Position,
    },
    /// More than could be kept. It hears on from after `told`.
    TooMuch { told: Position },
}

/// What a subscriber hears with, until it is dropped.
pub(super) struct Ear {
    subscribers: Arc<Subscribers>,
    subscriber: Arc<Subscriber>,
}

impl Subscribers {
    /// Nobody yet, and everything up to `told` is said.
    pub(super) fn told(told: Position) -> Self {
        let by_prefix = BTreeMap::new();
        Self(Mutex::new(State { told, by_prefix }))
    }

    /// Hears the events of `filter` that are told from now on, which come after the position.
    pub(super) fn listen(self: &Arc<Self>, filter: Filter) -> (Ear, Position) {
        let subscriber = Arc::new(Subscriber {
            filter,
            heard: Mutex::default(),
            arrived: Notify::new(),
        });
        let mut state = self.state();
        for prefix in prefixes(&subscriber.filter) {
            let of_length = state.by_prefix.entry(prefix.len()).or_default();
            let subscribers = of_length.entry(prefix.to_owned()).or_default();
            subscribers.push(Arc::clone(&subscriber));
        }
        let ear = Ear {
            subscribers: Arc::clone(self),
            subscriber,
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

    fn leave(&self, subscriber: &Arc<Subscriber>) {
        let mut state = self.state();
        for prefix in prefixes(&subscriber.filter) {
            state.leave(prefix, subscriber);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, event: &Arc<RecordedEvent>) {
        for (length, subscribers) in &self.by_prefix {
            let beginning = event.stream.as_str().get(..*length);
            let subscribers = beginning.and_then(|beginning| subscribers.get(beginning));
            subscribers
                .into_iter()
                .flatten()
                .for_each(|subscriber| subscriber.tell(event));
        }
    }

    fn leave(&mut self, prefix: &str, subscriber: &Arc<Subscriber>) {
        let Some(of_length) = self.by_prefix.get_mut(&prefix.len()) else {
            return;
        };
        if let Some(subscribers) = of_length.get_mut(prefix) {
            subscribers.retain(|other| !Arc::ptr_eq(other, subscriber));
            if subscribers.is_empty() {
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

impl Subscriber {
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
        self.arrived.notify_one();
    }

    fn heard(&self) -> MutexGuard<'_, Waiting> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    pub(super) fn filter(&self) -> &Filter {
        &self.subscriber.filter
    }

    /// Waits until there is something to hear. Dropping the future loses nothing.
    pub(super) async fn come(&self) {
        self.subscriber.arrived.notified().await;
    }

    /// What there is, which is not heard again.
    pub(super) fn hear(&self) -> Heard {
        let state = self.subscribers.state();
        let heard = std::mem::take(&mut *self.subscriber.heard());
        let (told, events) = (state.told, heard.events);
        match heard.too_much {
            true => Heard::TooMuch { told },
            false => Heard::All { events, told },
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.subscribers.leave(&self.subscriber);
    }
}
