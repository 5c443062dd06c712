//! New events of one reactor: each is answered once, and what fails is written down with the checkpoint.
//!
//! One rule: the checkpoint moves when everything up to it is done or written down, never before.

use std::{sync::Arc, time::Duration};

use domain::aggregate::Aggregate as _;
use domain::{
    aggregate::decode,
    event_store::{Filter, Page, Position, RecordedEvent, Subscription},
    notifications::delivery::{Deliveries, DeliveryEvent, REDRIVEN},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    RunError,
    perform::{Performer, together},
    table::{self, Outcome},
};

/// Events that are answered before the checkpoint is written: so many effects are done again after a crash at most.
const CHUNK: usize = 32;
/// How far the checkpoint may be behind what was read, when that were events of others.
const FAR: u64 = 10_000;
const LONG: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct EventLoop {
    pub(super) performer: Performer,
    /// Told when something was written that the tries have to look at.
    pub(super) more: Arc<Notify>,
    pub(super) stop: CancellationToken,
}

/// How far a reactor is.
struct Place {
    /// As the table has it.
    stored: Position,
    /// As it was read.
    seen: Position,
    /// When it was stored.
    at: Instant,
}

impl EventLoop {
    /// Answers events as they come, until it is stopped.
    pub(super) async fn follow(&self) -> Result<(), RunError> {
        let parts = &self.performer.parts;
        let stored = table::checkpoint(&parts.pool, self.name()).await?;
        let mut place = Place {
            stored,
            seen: stored,
            at: Instant::now(),
        };
        let mut subscription = parts.ports.store.subscribe(stored, self.filter());
        while let Some(page) = self.next(subscription.as_mut(), &mut place).await? {
            self.take(page, &mut place).await?;
            if self.stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        self.performer.reactor.name()
    }

    fn filter(&self) -> Filter {
        let kinds = self.performer.reactor.kinds().iter().copied().chain([REDRIVEN]);
        Filter {
            kind_prefixes: kinds.map(str::to_owned).collect(),
            ..Filter::all()
        }
    }

    /// The next page; `None` when it is stopped. What was read of others is written down from time to time.
    async fn next(
        &self,
        subscription: &mut dyn Subscription,
        place: &mut Place,
    ) -> Result<Option<Page>, RunError> {
        loop {
            let behind = place.stored < place.seen;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                page = subscription.next() => return Ok(Some(page?)),
                () = tokio::time::sleep_until(place.at + LONG), if behind => {
                    let seen = place.seen;
                    self.write(place, seen, &Outcome::default()).await?;
                }
            }
        }
    }

    async fn take(&self, page: Page, place: &mut Place) -> Result<(), RunError> {
        let wanted: Vec<&RecordedEvent> = page.events.iter().filter(|event| self.wants(event)).collect();
        for chunk in wanted.chunks(CHUNK) {
            self.tell(place, chunk.first().copied());
            let outcome = self.answer(chunk).await?;
            let reached = chunk.last().map_or(place.seen, |event| event.position);
            fail::fail_point!("reactor.before_checkpoint");
            self.write(place, reached, &outcome).await?;
            place.seen = reached;
            if !outcome.open.is_empty() || !outcome.redriven.is_empty() {
                self.more.notify_one();
            }
            if self.stop.is_cancelled() {
                return Ok(());
            }
        }
        place.seen = page.next;
        if place.seen.0.saturating_sub(place.stored.0) > FAR {
            let seen = place.seen;
            self.write(place, seen, &Outcome::default()).await?;
        }
        self.tell(place, None);
        Ok(())
    }

    /// The filter goes by what a kind begins with.
    fn wants(&self, event: &RecordedEvent) -> bool {
        let kind = event.kind.as_str();
        self.performer.reactor.kinds().contains(&kind) || self.is_redrive(event)
    }

    fn is_redrive(&self, event: &RecordedEvent) -> bool {
        event.kind == REDRIVEN && event.stream == Deliveries::stream(self.name())
    }

    /// Does what follows from `chunk`. What fails holds up nothing else.
    async fn answer(&self, chunk: &[&RecordedEvent]) -> Result<Outcome, RunError> {
        let mut outcome = Outcome::default();
        for event in chunk.iter().filter(|event| self.is_redrive(event)) {
            // One of a newer build, which names what this one does not know, is left to that.
            if let Ok(DeliveryEvent::Redriven { delivery }) = decode(event) {
                outcome.redriven.push(delivery);
            }
        }
        let limit = self.performer.parts.settings.first_try;
        let events = chunk.iter().filter(|event| !self.is_redrive(event));
        let work = events.map(|event| self.performer.answer(event, limit)).collect();
        let open = together(work).await?;
        outcome.open = open.into_iter().flatten().collect();
        Ok(outcome)
    }

    async fn write(&self, place: &mut Place, to: Position, outcome: &Outcome) -> Result<(), RunError> {
        let (parts, ownership) = (&self.performer.parts, &self.performer.ownership);
        let way = (place.stored, to);
        table::finish(&parts.pool, ownership, self.name(), way, outcome).await?;
        place.stored = to;
        place.at = Instant::now();
        Ok(())
    }

    /// Tells metrics how far behind it is: by events, and by the age of the event that it is at.
    fn tell(&self, place: &Place, at: Option<&RecordedEvent>) {
        let (name, ports) = (self.name(), &self.performer.parts.ports);
        let lag = ports.store.known_head().0.saturating_sub(place.seen.0);
        let age = at.map_or(0.0, |event| {
            (ports.clock.now() - event.at).as_seconds_f64().max(0.0)
        });
        metrics::gauge!("reactor_lag_events", "reactor" => name)
            .set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
        metrics::gauge!("reactor_lag_seconds", "reactor" => name).set(age);
    }
}
