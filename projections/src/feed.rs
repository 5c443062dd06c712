//! Live feeds: one reader of the log per process, any number of subscriptions.
//!
//! A subscription first reads recorded events, then listens. An event is handed to those who follow its stream and to
//! nobody else, so that what happens elsewhere costs a quiet feed nothing. A subscription that is slow loses what it
//! has not taken and reads the log again from its position: nothing is missed, and memory stays bounded.
//!
//! One rule: a position that is given to anybody is [`FeedSubscription::position`], or that of an event. The head of the log
//! is no place to go on from.

mod subscribers;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::event_store::{EventStore, Filter, Position, RecordedEvent, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::subscribers::{Ear, Heard, Subscribers};

/// Events read at once while catching up.
const PAGE: usize = 500;
/// Wait before another try after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// The process's one reader of the log.
#[derive(Clone)]
pub struct FeedHub {
    store: Arc<dyn EventStore>,
    subscribers: Arc<Subscribers>,
}

impl FeedHub {
    /// Starts reading from the head of the log; ends when `stop` is cancelled.
    #[must_use]
    pub fn start(store: Arc<dyn EventStore>, stop: CancellationToken) -> Self {
        let from = store.known_head();
        let subscribers = Arc::new(Subscribers::told(from));
        let hub = Self { store, subscribers };
        let reader = hub.clone();
        tokio::spawn(async move {
            let mut subscription = reader.store.subscribe(from, Filter::all());
            loop {
                let page = tokio::select! {
                    () = stop.cancelled() => return,
                    page = subscription.next() => page,
                };
                match page {
                    Ok(page) => reader.subscribers.tell(page.events),
                    Err(error) => {
                        tracing::warn!(%error, "the live feed paused, trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
        hub
    }

    /// Follows the events of `filter` from after `after`.
    #[must_use]
    pub fn follow(&self, after: Position, filter: Filter) -> FeedSubscription {
        let (ear, told) = self.subscribers.listen(filter);
        FeedSubscription {
            store: self.store.clone(),
            ear,
            told,
            read: after,
            position: after,
            caught_up: false,
            waiting: VecDeque::new(),
        }
    }

    /// The last position this process knows of: where to follow from when only what is new counts.
    #[must_use]
    pub fn head(&self) -> Position {
        self.store.known_head()
    }
}

/// A subscription to a feed.
pub struct FeedSubscription {
    store: Arc<dyn EventStore>,
    ear: Ear,
    /// What it cannot hear any more: everything up to here is the log's alone to tell.
    told: Position,
    /// How far the log was read: ahead of `position` by what is in `waiting`.
    read: Position,
    position: Position,
    caught_up: bool,
    waiting: VecDeque<Arc<RecordedEvent>>,
}

impl FeedSubscription {
    /// The last position that this feed has handed out or passed over: every event of the feed up to here was
    /// returned by [`next`](Self::next), so following from here misses nothing. Never the head of the log, which
    /// runs ahead of what has arrived here.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next event of the feed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the log cannot be read; the call may be tried again.
    pub async fn next(&mut self) -> Result<Arc<RecordedEvent>, StoreError> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            if self.caught_up {
                self.ear.come().await;
            } else {
                self.catch_up().await?;
            }
        }
    }

    /// As [`next`](Self::next), until `deadline`: `None` when no event had arrived by then.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_until(&mut self, deadline: Instant) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        match tokio::time::timeout_at(deadline, self.next()).await {
            Ok(event) => event.map(Some),
            // Nobody is woken by what others do, so how far the feed has come is looked up now.
            Err(_) => Ok(self.take()),
        }
    }

    /// The next event that is there. Where there is none, all that was read and heard is passed.
    fn take(&mut self) -> Option<Arc<RecordedEvent>> {
        if self.waiting.is_empty() && self.caught_up {
            self.hear();
        }
        let event = self.waiting.pop_front();
        // Where nothing waits, all that was read was handed out or is not of this feed.
        self.position = event.as_ref().map_or(self.read, |event| event.position);
        event
    }

    fn hear(&mut self) {
        match self.ear.hear() {
            Heard::All { events, told } => {
                let unread = events.into_iter().filter(|event| event.position > self.read);
                self.waiting.extend(unread);
                self.read = self.read.max(told);
            }
            Heard::TooMuch { told } => {
                self.told = told;
                self.caught_up = false;
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let page = self.store.read_all(self.read, self.ear.filter(), PAGE).await?;
        // What was told before this subscriber listened, or while it was too slow, has to be read; the rest it hears.
        self.caught_up = page.next <= self.read || page.next >= self.told;
        self.read = self.read.max(page.next);
        self.waiting.extend(page.events.into_iter().map(Arc::new));
        Ok(())
    }
}
