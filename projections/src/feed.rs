//! Live feeds: one reader of the log per process, any number of followers.
//!
//! The hub keeps nothing: a follower first reads what is recorded, then listens; when it was too slow to
//! listen, it reads again from where it was. So nothing is missed and memory stays bounded.

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, Filter, Position, RecordedEvent, StoreError};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Events that a follower may lag behind before it has to read the log again.
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
}

impl FeedHub {
    /// Starts reading from the head of the log; ends when `stop` is cancelled.
    #[must_use]
    pub fn start(store: Arc<dyn EventStore>, stop: CancellationToken) -> Self {
        let (live, _) = broadcast::channel(BUFFER);
        let hub = Self { store, live };
        let reader = hub.clone();
        tokio::spawn(async move {
            let mut subscription = reader.store.subscribe(reader.store.known_head(), Filter::all());
            loop {
                let page = tokio::select! {
                    () = stop.cancelled() => return,
                    page = subscription.next() => page,
                };
                match page {
                    // Nobody listening is no failure.
                    Ok(page) => page
                        .events
                        .into_iter()
                        .for_each(|event| drop(reader.live.send(Arc::new(event)))),
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
    pub fn follow(&self, after: Position, filter: Filter) -> Follower {
        Follower {
            live: self.live.subscribe(),
            store: self.store.clone(),
            filter,
            position: after,
            caught_up: false,
            waiting: std::collections::VecDeque::new(),
        }
    }

    /// The last position this process knows of.
    #[must_use]
    pub fn head(&self) -> Position {
        self.store.known_head()
    }
}

/// One reader of a feed.
pub struct Follower {
    store: Arc<dyn EventStore>,
    live: broadcast::Receiver<Arc<RecordedEvent>>,
    filter: Filter,
    position: Position,
    caught_up: bool,
    waiting: std::collections::VecDeque<Arc<RecordedEvent>>,
}

impl Follower {
    /// The next event of the feed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the log cannot be read; the call may be tried again.
    pub async fn next(&mut self) -> Result<Arc<RecordedEvent>, StoreError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            if !self.caught_up {
                self.catch_up().await?;
                continue;
            }
            match self.live.recv().await {
                Ok(event) if event.position > self.position => {
                    self.position = event.position;
                    if self.filter.matches(&event) {
                        return Ok(event);
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

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let page = self.store.read_all(self.position, &self.filter, PAGE).await?;
        self.caught_up = page.next <= self.position || page.next >= self.store.known_head();
        self.position = self.position.max(page.next);
        self.waiting.extend(page.events.into_iter().map(Arc::new));
        Ok(())
    }
}
