//! Live feeds: one reader of the log per process, any number of subscriptions.
//!
//! The hub buffers nothing: a subscription first reads recorded events, then listens; if it lags, it reads the log
//! again from its position. So nothing is missed and memory stays bounded.
//!
//! One rule: a position that is given to anybody is [`FeedSubscription::position`], or that of an event. The head of the log
//! is no place to go on from.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::event_store::{EventStore, Filter, Position, RecordedEvent, StoreError};
use tokio::{sync::broadcast, time::Instant};
use tokio_util::sync::CancellationToken;

/// Events that a subscription may lag behind before it has to read the log again.
const BUFFER: usize = 1_024;
/// Events read at once while catching up.
const PAGE: usize = 500;
/// Wait before another try after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// The process's one reader of the log.
#[derive(Clone)]
pub struct FeedHub {
    store: Arc<dyn EventStore>,
    live: broadcast::Sender<Arc<RecordedEvent>>,
    /// What followers cannot hear any more: everything up to here is the log's alone to tell.
    told: Arc<AtomicU64>,
}

impl FeedHub {
    /// Starts reading from the head of the log; ends when `stop` is cancelled.
    #[must_use]
    pub fn start(store: Arc<dyn EventStore>, stop: CancellationToken) -> Self {
        let (live, _) = broadcast::channel(BUFFER);
        let from = store.known_head();
        let hub = Self {
            store,
            live,
            told: Arc::new(AtomicU64::new(from.0)),
        };
        let reader = hub.clone();
        tokio::spawn(async move {
            let mut subscription = reader.store.subscribe(from, Filter::all());
            loop {
                let page = tokio::select! {
                    () = stop.cancelled() => return,
                    page = subscription.next() => page,
                };
                match page {
                    Ok(page) => page.events.into_iter().for_each(|event| reader.tell(event)),
                    Err(error) => {
                        tracing::warn!(%error, "the live feed paused, trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
        hub
    }

    /// Hands an event to whoever listens; nobody listening is no failure.
    fn tell(&self, event: RecordedEvent) {
        self.told.fetch_max(event.position.0, Ordering::AcqRel);
        drop(self.live.send(Arc::new(event)));
    }

    /// Follows the events of `filter` from after `after`.
    #[must_use]
    pub fn follow(&self, after: Position, filter: Filter) -> FeedSubscription {
        FeedSubscription {
            live: self.live.subscribe(),
            told: self.told.clone(),
            store: self.store.clone(),
            filter,
            read: after,
            position: after,
            caught_up: false,
            waiting: VecDeque::new(),
        }
    }

    /// The last position this process knows of: where to follow from when only news counts.
    #[must_use]
    pub fn head(&self) -> Position {
        self.store.known_head()
    }
}

/// A subscription to a feed.
pub struct FeedSubscription {
    store: Arc<dyn EventStore>,
    live: broadcast::Receiver<Arc<RecordedEvent>>,
    told: Arc<AtomicU64>,
    filter: Filter,
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
            if let Some(event) = self.waiting.pop_front() {
                self.position = event.position;
                return Ok(event);
            }
            // Nothing waits, so all that was read was handed out or is not of this feed.
            self.position = self.read;
            if !self.caught_up {
                self.catch_up().await?;
                continue;
            }
            match self.live.recv().await {
                Ok(event) if event.position > self.read => {
                    self.read = event.position;
                    if self.filter.matches(&event) {
                        self.waiting.push_back(event);
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.caught_up = false,
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(StoreError::Unavailable("the system is shutting down".to_owned()));
                }
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
            Err(_) => Ok(None),
        }
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let page = self.store.read_all(self.read, &self.filter, PAGE).await?;
        // What was told before this follower listened, or while it was too slow, has to be read; the rest it hears.
        self.caught_up = page.next <= self.read || page.next.0 >= self.told.load(Ordering::Acquire);
        self.read = self.read.max(page.next);
        self.waiting.extend(page.events.into_iter().map(Arc::new));
        Ok(())
    }
}
