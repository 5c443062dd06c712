//! FL2: every position that a feed hands out can be gone on from. Deterministic: the log is in memory, and its arrival
//! in the process is let through by hand, so that the head runs ahead of what followers hear.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use domain::{
    clock::SystemClock,
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Expected, Filter, Metadata, Page, Position,
        RecordedEvent, StoreError, StreamId, StreamWrite, Subscription,
    },
};
use event_store::memory::{Generator, MemoryEventStore};
use projections::feed::{FeedHub, FeedSubscription};
use serde_json::json;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use super::fixture::event;

/// Streams of the feed under test begin with this; the others are other people's.
const OURS: &str = "jobs.job-ours";

/// A log whose news comes to this process only as it is let through.
struct Dammed {
    log: Arc<MemoryEventStore>,
    gate: Arc<Semaphore>,
    /// What the process is said to know of the head; `u64::MAX`: what the log says.
    known: AtomicU64,
}

impl Dammed {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            log: MemoryEventStore::new(Arc::new(SystemClock)),
            gate: Arc::new(Semaphore::new(0)),
            known: AtomicU64::new(u64::MAX),
        })
    }

    /// Records an event in a stream of ours or of somebody else.
    async fn record(&self, ours: bool) {
        let stream = if ours { OURS } else { "projects.project-theirs" };
        let write = StreamWrite {
            stream: StreamId::from_recorded(stream.to_owned()),
            expected: Expected::Any,
            events: vec![event("jobs.JobQueued", &json!({}))],
        };
        let append = Append {
            writes: vec![write],
            meta: Metadata::default(),
        };
        self.log.append(append).await.expect("recorded");
    }

    /// Lets a page through, and the hub hand it on.
    async fn let_through(&self) {
        self.gate.add_permits(1);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// Where our events lie.
    fn ours(&self) -> Vec<u64> {
        let events = self.log.recorded();
        let ours = events.iter().filter(|event| filter().matches(event));
        ours.map(|event| event.position.0).collect()
    }
}

fn filter() -> Filter {
    Filter {
        stream_prefixes: vec![OURS.to_owned()],
        kind_prefixes: Vec::new(),
    }
}

impl EventStore for Dammed {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.log.append(append)
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        self.log.load(stream, revision)
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move {
            // As a database would have it: others run before there is an answer.
            tokio::task::yield_now().await;
            self.log.read_all(after, filter, limit).await
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.log.head()
    }

    fn known_head(&self) -> Position {
        match self.known.load(Ordering::Relaxed) {
            u64::MAX => self.log.known_head(),
            known => Position(known),
        }
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        Box::new(Gated {
            inner: self.log.subscribe(after, filter),
            gate: self.gate.clone(),
        })
    }
}

struct Gated {
    inner: Box<dyn Subscription>,
    gate: Arc<Semaphore>,
}

impl Subscription for Gated {
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move {
            let permit = self.gate.acquire().await.expect("never closed");
            let page = self.inner.next().await;
            permit.forget();
            page
        })
    }
}

/// What has arrived by now: an event, or nothing.
async fn now(follower: &mut FeedSubscription) -> Option<u64> {
    let come = follower
        .next_until(Instant::now() + Duration::from_millis(5))
        .await;
    come.expect("the log is readable").map(|event| event.position.0)
}

/// The position of the `nth` event: the log in memory leaves room between positions, so that nothing counts on them.
fn at(nth: u64) -> u64 {
    nth * 16
}

/// Everything that a feed from `after` has.
async fn all_after(hub: &FeedHub, after: u64) -> Vec<u64> {
    let mut follower = hub.follow(Position(after), filter());
    let mut got = Vec::new();
    while let Some(position) = now(&mut follower).await {
        got.push(position);
    }
    got
}

/// FL2 as it was seen: the head is at an event that has not arrived; the heartbeat's position must not be its.
#[tokio::test]
async fn a_quiet_feed_stands_before_what_has_not_arrived() {
    let log = Dammed::new();
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    log.record(true).await;
    let mut follower = hub.follow(Position::START, filter());
    assert_eq!(now(&mut follower).await, Some(at(1)));
    assert_eq!(
        (now(&mut follower).await, follower.position()),
        (None, Position(at(1)))
    );

    log.record(false).await;
    log.record(true).await;
    assert_eq!(
        hub.head(),
        Position(at(3)),
        "the head has moved, nothing was delivered"
    );
    assert_eq!(now(&mut follower).await, None);
    let told = follower.position();
    assert_eq!(told, Position(at(1)), "the last that was delivered");

    log.let_through().await;
    assert_eq!(
        all_after(&hub, told.0).await,
        [at(3)],
        "going on from there has the event"
    );
    assert_eq!(now(&mut follower).await, Some(at(3)));
}

/// What is passed over counts: a feed of a quiet job does not fall behind the log.
#[tokio::test]
async fn a_quiet_feed_moves_past_what_is_not_its_own() {
    let log = Dammed::new();
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    let mut follower = hub.follow(Position::START, filter());
    for _ in 0..4 {
        log.record(false).await;
    }
    log.let_through().await;
    assert_eq!(
        (now(&mut follower).await, follower.position()),
        (None, Position(at(4)))
    );
}

/// A page that was read is not a page that was delivered.
#[tokio::test]
async fn what_was_read_and_not_taken_is_not_passed() {
    let log = Dammed::new();
    for _ in 0..3 {
        log.record(true).await;
    }
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    let mut follower = hub.follow(Position::START, filter());
    for expected in 1..=3 {
        assert_eq!(now(&mut follower).await, Some(at(expected)));
        assert_eq!(follower.position(), Position(at(expected)));
    }
}

/// A follower that comes while the process knows less than it was told reads up to what it can no longer hear.
#[tokio::test]
async fn a_latecomer_misses_nothing_that_was_told_before_it_listened() {
    let log = Dammed::new();
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    // More than a follower reads at once, told to nobody, while the head is still said to be at the start.
    for _ in 0..600 {
        log.record(true).await;
    }
    log.known.store(0, Ordering::Relaxed);
    for _ in 0..6 {
        log.let_through().await;
    }
    assert_eq!(all_after(&hub, 0).await, (1..=600).map(at).collect::<Vec<_>>());
}

/// More than a follower can have heard and not taken: it reads the log again, and misses nothing.
#[tokio::test]
async fn who_is_slow_reads_the_log_again() {
    let log = Dammed::new();
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    let mut follower = hub.follow(Position::START, filter());
    log.record(true).await;
    log.let_through().await;
    assert_eq!(now(&mut follower).await, Some(at(1)));
    for _ in 0..1_500 {
        log.record(true).await;
    }
    log.gate.add_permits(1_500);
    assert_eq!(
        all_after(&hub, at(1)).await.len(),
        1_500,
        "the hub has told all of it"
    );
    for expected in 2..=1_501 {
        assert_eq!(now(&mut follower).await, Some(at(expected)));
    }
    log.record(true).await;
    log.let_through().await;
    assert_eq!(now(&mut follower).await, Some(at(1_502)), "it hears again");
}

/// FL11: a thousand idle feeds cost nothing when something else happens. They are woken by what is theirs.
#[tokio::test]
async fn what_others_do_wakes_nobody() {
    let log = Dammed::new();
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    let mut follower = hub.follow(Position::START, filter());
    assert_eq!(now(&mut follower).await, None, "it has caught up");
    let (woken, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let mut next = Box::pin(follower.next());
    assert!(next.as_mut().poll(&mut context).is_pending());
    for _ in 0..20 {
        log.record(false).await;
        log.let_through().await;
    }
    assert_eq!(woken.0.load(Ordering::Relaxed), 0, "by what is not its own");
    log.record(true).await;
    log.let_through().await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(next.as_mut().poll(&mut context).is_ready());
    drop(next);
    assert_eq!(follower.position(), Position(at(21)));
}

/// How often a task was woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken::default());
    (woken.clone(), woken.into())
}

/// One run by `seed`: events of ours and of others, arriving late and in lumps, followers that are slow or dropped. At
/// every position that is handed out, what was delivered is what lies up to there, neither less nor more. Returns how
/// often the feed was quiet.
async fn run(seed: u64) -> u32 {
    let mut dice = Generator::new(seed);
    let log = Dammed::new();
    for _ in 0..dice.below(30) {
        let ours = dice.below(3) == 0;
        log.record(ours).await;
    }
    let hub = FeedHub::start(log.clone(), CancellationToken::new());
    let mut follower = hub.follow(Position::START, filter());
    let (mut got, mut heartbeats) = (BTreeSet::new(), 0);
    for step in 0..120 {
        match dice.below(6) {
            0 | 1 => log.record(true).await,
            2 => log.record(false).await,
            3 => log.let_through().await,
            // The connection breaks, and goes on from the position that was handed out last.
            4 if dice.below(3) == 0 => follower = hub.follow(follower.position(), filter()),
            _ => match now(&mut follower).await {
                Some(position) => assert!(got.insert(position), "{position} came twice, seed {seed}"),
                None => heartbeats += 1,
            },
        }
        let here = follower.position().0;
        let due: BTreeSet<u64> = log
            .ours()
            .into_iter()
            .filter(|position| *position <= here)
            .collect();
        assert_eq!(got, due, "at position {here}, seed {seed}, step {step}");
    }
    log.gate.add_permits(1_000);
    while let Some(position) = now(&mut follower).await {
        got.insert(position);
    }
    assert_eq!(got.into_iter().collect::<Vec<_>>(), log.ours(), "seed {seed}");
    heartbeats
}

/// FL2: resuming at any position that was handed out loses nothing and repeats nothing.
#[tokio::test]
async fn going_on_from_any_position_loses_nothing() {
    let mut quiet = 0;
    for seed in 0..60 {
        quiet += run(seed).await;
    }
    assert!(
        quiet > 60,
        "feeds were quiet only {quiet} times, so heartbeats were hardly tried"
    );
}
