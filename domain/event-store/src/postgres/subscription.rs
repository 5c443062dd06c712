//! Following the log: what is there, then what comes.
//!
//! The rule: nothing is moved before it is handed out, so a dropped future loses nothing.

use domain::event_store::{BoxFuture, Filter, Page, Position, StoreError, Subscription};
use tokio::sync::watch;

use super::reader::Reader;

/// Events that are looked at per page while far behind, and while live.
const PAGE_EVENTS: usize = 1_000;
/// A filtered page looks further: few of the events come back.
const FILTERED_PAGE_EVENTS: usize = 10_000;

/// A place in the log and a filter.
pub(super) struct PostgresSubscription {
    pub(super) reader: Reader,
    pub(super) head: watch::Receiver<u64>,
    pub(super) after: Position,
    pub(super) filter: Filter,
    /// Whether `after` was seen to lie within the log.
    pub(super) placed: bool,
    /// Whether a page of the database was handed out.
    pub(super) read: bool,
}

impl Subscription for PostgresSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move {
            if !self.placed {
                self.check_place().await?;
            }
            let after = self.after.0;
            let closed = || StoreError::Unavailable("the event store is closed".to_owned());
            tokio::select! {
                grown = self.head.wait_for(|head| *head > after) => drop(grown.map_err(|_| closed())?),
                () = self.reader.pool.close_event() => return Err(closed()),
            }
            let events = if self.filter == Filter::default() {
                PAGE_EVENTS
            } else {
                FILTERED_PAGE_EVENTS
            };
            // The first page is the database's own: only who stands on a log that was read goes on from memory.
            let recent = self
                .read
                .then(|| self.reader.recent.page(self.after, &self.filter, events));
            let page = match recent.flatten() {
                Some(page) => page,
                None => self.reader.page(self.after, &self.filter, events).await?,
            };
            self.read = true;
            if page.next <= self.after {
                let why = format!("it had events after {after}, and now has none");
                return Err(StoreError::Corrupt(why));
            }
            self.after = page.next;
            Ok(page)
        })
    }
}

impl PostgresSubscription {
    /// Refuses a place that the log has not reached: it was cut, or is another log.
    async fn check_place(&mut self) -> Result<(), StoreError> {
        if self.after.0 > *self.head.borrow() {
            let head = self.reader.head().await?;
            if self.after > head {
                return Err(StoreError::Corrupt(format!(
                    "a reader stands at {}, but the log ends at {head}; if it was restored from an older backup, \
                     rebuild what was derived from it",
                    self.after
                )));
            }
        }
        self.placed = true;
        Ok(())
    }
}
