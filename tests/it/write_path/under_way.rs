//! Commands are decided on appends that are still under way, and are recorded behind them or not at all (FL1).
//!
//! The rule: each recorded event says how many came before it, so a decision on what did not come about shows in the log.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use domain::{
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent,
        StoreError, StreamId, Subscription,
    },
    execute::Ports,
};
use futures::future::join_all;
use tests::harness::database;
use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    counter::{counts, record},
    ports, store,
    turns::{until, whatever},
};

const HOT: &str = "hot";
/// As many answers as any test wants.
const ALL: usize = 1_000;

/// A store that records at once and answers when a test says so.
struct Late {
    store: Arc<dyn EventStore>,
    answers: Semaphore,
    came: AtomicUsize,
}

impl Late {
    fn over(store: Arc<dyn EventStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            answers: Semaphore::new(0),
            came: AtomicUsize::new(0),
        })
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

impl EventStore for Late {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            self.came.fetch_add(1, Ordering::SeqCst);
            let answer = self.store.append(append).await;
            self.answers.acquire().await.expect("open").forget();
            answer
        })
    }

    fn keeps_order(&self) -> bool {
        self.store.keeps_order()
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        self.store.load(stream, revision)
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.store.read_all(after, filter, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.store.head()
    }

    fn known_head(&self) -> Position {
        self.store.known_head()
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        self.store.subscribe(after, filter)
    }
}

/// `count` callers one after the other, each once the append of the one before it has begun.
async fn callers(ports: &Ports, late: &Late, count: usize) -> Vec<JoinHandle<()>> {
    let (mut tasks, before) = (Vec::new(), late.came());
    for n in 1..=count {
        let own = ports.clone();
        tasks.push(tokio::spawn(async move {
            whatever(&own, HOT).await.expect("recorded");
        }));
        until(|| late.came() == before + n).await;
    }
    tasks
}

/// None of them waits for the answer of another, and none is lost to another.
#[tokio::test]
async fn commands_of_one_stream_are_under_way_together() {
    let log = store(&database().await).await;
    record(&*log, HOT, 3).await;
    let late = Late::over(log.clone());
    let ports = ports(late.clone());
    let tasks = callers(&ports, &late, 20).await;
    assert!(
        ports.queue.is_empty(),
        "each turn ended when its append had begun"
    );
    assert!(tasks.iter().all(|task| !task.is_finished()));
    late.answers.add_permits(ALL);
    join_all(tasks)
        .await
        .into_iter()
        .for_each(|ended| ended.expect("no panic"));
    assert_eq!(counts(&*log, HOT).await, (1..=23).collect::<Vec<_>>());
    assert_eq!(late.came(), 20);
    // What they left is remembered as it is in the log.
    whatever(&ports, HOT).await.expect("recorded");
    assert_eq!((counts(&*log, HOT).await.len(), late.came()), (24, 21));
}

/// The first finds that another process was there before it, and so those find who were decided on it.
#[tokio::test]
async fn what_was_decided_on_a_lost_append_is_decided_again() {
    let log = store(&database().await).await;
    record(&*log, HOT, 3).await;
    let late = Late::over(log.clone());
    let ports = ports(late.clone());
    late.answers.add_permits(1);
    whatever(&ports, HOT).await.expect("recorded");
    record(&*log, HOT, 1).await;
    let tasks = callers(&ports, &late, 5).await;
    late.answers.add_permits(ALL);
    join_all(tasks)
        .await
        .into_iter()
        .for_each(|ended| ended.expect("no panic"));
    assert_eq!(counts(&*log, HOT).await, (1..=10).collect::<Vec<_>>());
    assert!(late.came() > 6, "all five were lost once: {}", late.came());
}

/// Whether the append of one who has gone was recorded is nothing that others may guess.
#[tokio::test]
async fn who_goes_while_under_way_misleads_nobody() {
    let log = store(&database().await).await;
    record(&*log, HOT, 3).await;
    let late = Late::over(log.clone());
    let ports = ports(late.clone());
    let mut tasks = callers(&ports, &late, 3).await;
    let gone = tasks.remove(0);
    gone.abort();
    assert!(gone.await.expect_err("gone").is_cancelled());
    tasks.extend(callers(&ports, &late, 3).await);
    late.answers.add_permits(ALL);
    join_all(tasks)
        .await
        .into_iter()
        .for_each(|ended| ended.expect("no panic"));
    let recorded = counts(&*log, HOT).await;
    assert!(matches!(recorded.len(), 8 | 9), "{recorded:?}");
    assert_eq!(recorded, (1..=recorded.len()).collect::<Vec<_>>());
}

/// Two processes, many callers, one stream: nothing is lost, nothing stands in another's place, and all come to an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_two_processes_all_come_to_their_end() {
    const CALLERS: usize = 32;
    const EACH: usize = 10;
    let database = database().await;
    let stores = [store(&database).await, store(&database).await];
    record(&*stores[0], HOT, 1).await;
    let both = stores.clone().map(|store| ports(store));
    let tasks = (0..CALLERS).map(|n| {
        let own = both[n % 2].clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                // Who was lost too often says so and may try again.
                while whatever(&own, HOT).await.is_err() {}
            }
        })
    });
    join_all(tasks)
        .await
        .into_iter()
        .for_each(|ended| ended.expect("no panic"));
    let recorded = counts(&*stores[0], HOT).await;
    assert_eq!(recorded, (1..=CALLERS * EACH + 1).collect::<Vec<_>>());
}
