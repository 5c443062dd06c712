//! Following the log, and reading it through a filter: a catch-up subscription of the server's.
//!
//! The rule: a place moves only when a page is handed out, and only to where the server says that it has
//! looked. So a dropped future loses nothing, and a broken connection goes on where the last page ended.

use std::{sync::Arc, time::Duration};

use domain::event_store::{BoxFuture, Filter, Page, Position, StoreError, Subscription};
use futures::FutureExt as _;
use tokio::{sync::watch, time::Instant};

use super::{
    failure::{Backoff, Failure},
    known::KnownHead,
    nodes::{Followed, Nodes},
    reader::passes_all,
    reading::Reading,
    recorded::{EVENTS_ONLY, from_wire, is_event, kind},
    wire::{
        AllOptions, Content, Empty, Expression, FilterOptions, LogPosition, ReadOptions, ReadReq, ReadResp,
        Recorded, UuidOption,
    },
};

/// Events in a page at most.
const PAGE_EVENTS: usize = 1_000;
/// Bytes of payload after which a page takes no more.
const PAGE_BYTES: usize = 16 << 20;
/// A page that has seen a checkpoint goes on looking for so long, to come to the end if it is near.
const SLICE: Duration = Duration::from_secs(1);
/// How long a filtered subscription may be silent before somebody looks how far the log has come. Servers send
/// checkpoints only now and then, and a reader that is waited for must not stay behind what does not pass.
const SILENCE: Duration = Duration::from_millis(250);

/// A place in the log and a filter.
pub(super) struct KurrentSubscription {
    pub(super) nodes: Arc<Nodes>,
    pub(super) reading: Arc<Reading>,
    pub(super) head: KnownHead,
    pub(super) closed: watch::Receiver<bool>,
    pub(super) after: Position,
    pub(super) filter: Filter,
    /// Whether `after` was seen to lie within the log.
    pub(super) placed: bool,
    pub(super) followed: Option<Followed>,
}

/// A message of the server's subscription.
enum SubscriptionMessage {
    Event(Box<Recorded>),
    /// Everything up to here was looked at.
    Looked(Option<u64>),
    /// The same, and there is nothing more now.
    CaughtUp(Option<u64>),
    Other,
}

impl From<ReadResp> for SubscriptionMessage {
    fn from(message: ReadResp) -> Self {
        match message.content {
            Some(Content::Event(read)) => match read.event {
                Some(event) => Self::Event(Box::new(event)),
                None => Self::Other,
            },
            Some(Content::Checkpoint(place)) => Self::Looked(Some(place.commit_position)),
            Some(Content::CaughtUp(reached)) => {
                Self::CaughtUp(reached.position.map(|place| place.commit_position))
            }
            _ => Self::Other,
        }
    }
}

/// A page that grows.
struct Growing {
    page: Page,
    bytes: usize,
    caught_up: bool,
    looked: bool,
}

impl Growing {
    fn new(after: Position) -> Self {
        let (events, next) = (Vec::new(), after);
        Self {
            page: Page { events, next },
            bytes: 0,
            caught_up: false,
            looked: false,
        }
    }

    fn take(&mut self, message: SubscriptionMessage, filter: &Filter) -> Result<(), StoreError> {
        match message {
            SubscriptionMessage::Event(event) => {
                let position = Position(event.commit_position);
                // The server sends nothing twice on one subscription; a reconnection may.
                if position <= self.page.next {
                    return Ok(());
                }
                if is_event(kind(&event)) {
                    let event = from_wire(&event)?;
                    if filter.matches(&event) {
                        self.bytes += event.data.get().len();
                        self.page.events.push(event);
                    }
                }
                self.page.next = position;
            }
            SubscriptionMessage::Looked(place) => {
                self.looked = true;
                self.advance_to(place);
            }
            SubscriptionMessage::CaughtUp(place) => {
                self.caught_up = true;
                self.advance_to(place);
            }
            SubscriptionMessage::Other => {}
        }
        Ok(())
    }

    fn advance_to(&mut self, place: Option<u64>) {
        let place = Position(place.unwrap_or_default());
        self.page.next = self.page.next.max(place);
    }

    fn is_full(&self, limit: usize) -> bool {
        self.page.events.len() >= limit || self.bytes >= PAGE_BYTES
    }
}

impl Subscription for KurrentSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move {
            let mut closed = self.closed.clone();
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => Err(super::is_closed()),
                page = self.advance() => page,
            }
        })
    }
}

impl KurrentSubscription {
    async fn advance(&mut self) -> Result<Page, StoreError> {
        self.check_place().await?;
        let mut growing = Growing::new(self.after);
        while growing.page.next == self.after {
            match self.message_or_silence().await? {
                Some(message) => growing.take(message.into(), &self.filter)?,
                None => growing = self.look_ahead().await?,
            }
        }
        // No wait from here on, so nothing can be dropped half-way.
        while !growing.is_full(PAGE_EVENTS) {
            match self.ready() {
                Some(message) => growing.take(message.into(), &self.filter)?,
                None => break,
            }
        }
        self.after = growing.page.next;
        if let Some(event) = growing.page.events.last() {
            self.head.advance(event.position.0);
        }
        Ok(growing.page)
    }

    /// The next message, or nothing when a filtered subscription is silent and behind.
    async fn message_or_silence(&mut self) -> Result<Option<ReadResp>, StoreError> {
        loop {
            if self.followed.is_none() || passes_all(&self.filter) {
                return self.message().await.map(Some);
            }
            match tokio::time::timeout(SILENCE, self.message()).await {
                Ok(message) => return message.map(Some),
                Err(_) if self.head.get() > self.after.0 => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// A page by a subscription of its own; what the one under way still brings of it is known then.
    async fn look_ahead(&mut self) -> Result<Growing, StoreError> {
        let mut second = Self {
            nodes: Arc::clone(&self.nodes),
            reading: Arc::clone(&self.reading),
            head: self.head.clone(),
            closed: self.closed.clone(),
            after: self.after,
            filter: self.filter.clone(),
            placed: true,
            followed: None,
        };
        let mut growing = Growing::new(self.after);
        growing.page = second.page(PAGE_EVENTS).await?;
        Ok(growing)
    }

    /// One page of at most `limit` events, or of what there is now, or of what the server looked at in a while.
    pub(super) async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        // What is recorded now has been looked at when the server says that there is no more.
        let head = self.reading.head().await.map_err(Failure::into_store)?;
        let begun = Instant::now();
        let deadline = begun + self.reading.limit;
        let mut growing = Growing::new(self.after);
        while !growing.is_full(limit.max(1)) && !growing.caught_up {
            if growing.looked && begun.elapsed() >= SLICE {
                break;
            }
            match tokio::time::timeout_at(deadline, self.message()).await {
                Ok(message) => growing.take(message?.into(), &self.filter)?,
                Err(_) if growing.page.next > self.after => break,
                Err(_) => {
                    let why = format!("KurrentDB did not answer within {:?}", self.reading.limit);
                    return Err(StoreError::Unavailable(why));
                }
            }
        }
        if growing.caught_up {
            let last = growing
                .page
                .events
                .last()
                .map_or(self.after, |event| event.position);
            growing.page.next = last.max(head);
        }
        Ok(growing.page)
    }

    /// What has come already.
    fn ready(&mut self) -> Option<ReadResp> {
        let followed = self.followed.as_mut()?;
        // A broken connection shows again at the next wait.
        followed.messages.message().now_or_never()?.ok()?
    }

    /// The next message; connects when there is no connection, and again for as long as a call may take.
    async fn message(&mut self) -> Result<ReadResp, StoreError> {
        let mut backoff = Backoff::default();
        let mut failing_since: Option<Instant> = None;
        loop {
            let failure = match self.try_message().await {
                Ok(message) => return Ok(message),
                Err(failure) => failure,
            };
            if let Some(followed) = self.followed.take() {
                self.nodes.lost(&followed, &failure);
            }
            let since = *failing_since.get_or_insert_with(Instant::now);
            if !failure.passes() || since.elapsed() >= self.reading.limit {
                return Err(failure.into_store());
            }
            backoff.pause().await;
        }
    }

    async fn try_message(&mut self) -> Result<ReadResp, Failure> {
        let followed = match self.followed.as_mut() {
            Some(followed) => followed,
            None => {
                let request = request(self.after, &self.filter);
                let followed = self.nodes.follow(request, self.reading.limit).await?;
                self.followed.insert(followed)
            }
        };
        let ended = || Failure::Passing("the server ended the subscription".to_owned());
        followed.messages.message().await?.ok_or_else(ended)
    }

    /// Refuses a place that the log has not reached: it was cut, or is another log.
    async fn check_place(&mut self) -> Result<(), StoreError> {
        if !self.placed && self.after > Position(self.head.get()) {
            let end = self.reading.end().await.map_err(Failure::into_store)?;
            if self.after > end {
                return Err(StoreError::Corrupt(format!(
                    "a reader stands at {}, but the log ends at {end}; if it was restored from an older backup, \
                     rebuild what was derived from it",
                    self.after
                )));
            }
        }
        self.placed = true;
        Ok(())
    }
}

/// A subscription from after `after`. The server can filter by streams or by types; what it lets through too
/// much is dropped here.
fn request(after: Position, filter: &Filter) -> ReadReq {
    let place = LogPosition {
        commit_position: after.0,
        prepare_position: after.0,
    };
    let begun = after != Position::START;
    let expression = |prefixes: &[String]| Expression {
        regex: String::new(),
        prefix: prefixes.to_vec(),
    };
    let events_only = Expression {
        regex: EVENTS_ONLY.to_owned(),
        prefix: Vec::new(),
    };
    let (streams, types) = if !filter.stream_prefixes.is_empty() {
        (Some(expression(&filter.stream_prefixes)), None)
    } else if passes_all(filter) {
        (None, Some(events_only))
    } else {
        (None, Some(expression(&filter.kind_prefixes)))
    };
    ReadReq {
        options: Some(ReadOptions {
            stream: None,
            all: Some(AllOptions {
                position: begun.then_some(place),
                start: (!begun).then_some(Empty {}),
                end: None,
            }),
            read_direction: 0,
            resolve_links: false,
            count: None,
            subscription: Some(Empty {}),
            filter: Some(FilterOptions {
                stream_identifier: streams,
                event_type: types,
                max: u32::try_from(PAGE_EVENTS).ok(),
                count: None,
                checkpoint_interval_multiplier: 1,
            }),
            no_filter: None,
            uuid_option: Some(UuidOption {
                string: Some(Empty {}),
            }),
            control_option: None,
        }),
    }
}
