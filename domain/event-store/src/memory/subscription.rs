//! Following the log in memory.
//!
//! The rule: nothing is moved before it is handed out; what a plan delivers twice or in disorder comes on top.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use domain::{
    clock::Clock,
    event_store::{BoxFuture, Filter, Page, Position, StoreError, Subscription},
};

use super::{Shared, faults::Delivery, pass};

/// Events that are looked at per page.
const PAGE_EVENTS: usize = 100;

/// A place in the log and a filter.
pub(super) struct MemorySubscription {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
    /// What the handle knows of the head: a delivered page is news.
    known: Arc<AtomicU64>,
    after: Position,
    filter: Filter,
    /// Whether `after` was seen to lie within the log.
    placed: bool,
    /// What was handed out last.
    last: Option<Page>,
}

impl MemorySubscription {
    pub(super) fn new(
        shared: Arc<Mutex<Shared>>,
        clock: Arc<dyn Clock>,
        known: Arc<AtomicU64>,
        after: Position,
        filter: Filter,
    ) -> Self {
        Self {
            shared,
            clock,
            known,
            after,
            filter,
            placed: false,
            last: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a place that the log has not reached: it was cut, or is another log.
    fn check_place(&mut self) -> Result<(), StoreError> {
        let head = self.lock().log.head();
        if !self.placed && self.after > head {
            let after = self.after;
            let why = format!("a reader stands at {after}, but the log ends at {head}");
            return Err(StoreError::Corrupt(why));
        }
        self.placed = true;
        Ok(())
    }

    /// Waits until the log reaches further than this follower.
    async fn grown(&self) {
        poll_fn(|context| {
            let mut shared = self.lock();
            if shared.log.head() > self.after {
                return Poll::Ready(());
            }
            if !shared
                .waiting
                .iter()
                .any(|known| known.will_wake(context.waker()))
            {
                shared.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    async fn deliver(&mut self) -> Result<Page, StoreError> {
        let (delivery, delay) = {
            let mut shared = self.lock();
            shared.begin(self.clock.now());
            shared.faults.of_delivery()
        };
        pass(delay).await;
        self.check_place()?;
        match (delivery, &self.last) {
            (Delivery::Broken, _) => {
                return Err(StoreError::Unavailable("the subscription broke".to_owned()));
            }
            (Delivery::Again, Some(page)) => return Ok(page.clone()),
            _ => {}
        }
        self.grown().await;
        let mut page = self.lock().log.page(self.after, &self.filter, PAGE_EVENTS);
        self.after = page.next;
        self.known.fetch_max(page.next.0, Ordering::Relaxed);
        self.last = Some(page.clone());
        if delivery == Delivery::Reordered {
            page.events.reverse();
        }
        Ok(page)
    }
}

impl Subscription for MemorySubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(self.deliver())
    }
}
