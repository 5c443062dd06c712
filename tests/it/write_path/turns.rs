//! Commands that write one stream take turns (FL1, GQ-10).
//!
//! The rule: what is asserted is who waits for whom, in which order, and how often the log is asked; no time is.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    aggregate::{Aggregate as _, encode},
    authz::{AccountState, Principal, UserPrincipal},
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Expected, Filter, Metadata, Page, Position,
        RecordedEvent, StoreError, StreamId, StreamWrite, Subscription,
    },
    execute::{ExecuteError, Ports, execute},
    id::{Ids as _, ProjectId, SystemIds, UserId},
    projects::project::CreateProject,
    quota::{Quota, Quotas},
    write_queue::WriteQueue,
};
use futures::future::{join_all, try_join_all};
use serde_json::json;
use tests::harness::{TestApp, database};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    counter::{Add, Counting, Miscounted, counts, record},
    ports, store,
};

/// A store that lets appends to one stream pass when a test says so, and counts them.
struct Gate {
    store: Arc<dyn EventStore>,
    stream: StreamId,
    passes: Semaphore,
    came: AtomicUsize,
}

impl Gate {
    fn before(store: Arc<dyn EventStore>, key: &str) -> Arc<Self> {
        Arc::new(Self {
            store,
            stream: Add::stream(key),
            passes: Semaphore::new(0),
            came: AtomicUsize::new(0),
        })
    }
}

impl EventStore for Gate {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            if append.writes.iter().any(|write| write.stream == self.stream) {
                self.came.fetch_add(1, Ordering::SeqCst);
                self.passes.acquire().await.expect("open").forget();
            }
            self.store.append(append).await
        })
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

pub(super) async fn whatever(ports: &Ports, key: &'static str) -> Result<(), ExecuteError<Miscounted>> {
    let meta = Metadata::default();
    execute(ports, &Principal::System("test"), &meta, &Add::whatever(key))
        .await
        .map(|_| ())
}

/// Runs other tasks until `come` holds.
pub(super) async fn until(come: impl Fn() -> bool) {
    while !come() {
        tokio::task::yield_now().await;
    }
}

/// Callers of the hot stream, who have come one after the other.
struct Callers {
    tasks: Vec<JoinHandle<()>>,
    /// Who has finished, in this order.
    finished: Arc<Mutex<Vec<usize>>>,
}

impl Callers {
    /// `count` callers; returns once all of them stand in the queue.
    async fn come(ports: &Ports, count: usize) -> Self {
        let (mut tasks, finished) = (Vec::new(), Arc::new(Mutex::new(Vec::new())));
        for n in 0..count {
            let (own, finished) = (ports.clone(), Arc::clone(&finished));
            tasks.push(tokio::spawn(async move {
                whatever(&own, HOT).await.expect("recorded");
                finished.lock().expect("whole").push(n);
            }));
            until(|| ports.queue.length(&Add::stream(HOT)) == n + 1).await;
        }
        Self { tasks, finished }
    }

    fn finished(&self) -> Vec<usize> {
        self.finished.lock().expect("whole").clone()
    }

    /// Waits for those who have not been stopped.
    async fn end(self) -> Vec<usize> {
        for task in self.tasks {
            if let Err(error) = task.await {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        self.finished.lock().expect("whole").clone()
    }
}

const HOT: &str = "hot";

/// 256 callers of one stream and one of another: nobody waits but for those who came to the same stream before.
#[tokio::test]
async fn who_writes_another_stream_does_not_wait_and_the_others_come_in_their_order() {
    const CALLERS: usize = 256;
    let log = store(&database().await).await;
    let gate = Gate::before(log.clone(), HOT);
    let ports = ports(gate.clone());
    let callers = Callers::come(&ports, CALLERS).await;
    whatever(&ports, "other").await.expect("recorded");
    assert!(
        callers.finished().is_empty(),
        "the other has finished while these queue"
    );
    assert_eq!(ports.queue.length(&Add::stream(HOT)), CALLERS);
    gate.passes.add_permits(CALLERS);
    assert_eq!(
        callers.end().await,
        (0..CALLERS).collect::<Vec<_>>(),
        "in the order of arrival"
    );
    assert_eq!(counts(&*log, HOT).await, (1..=CALLERS).collect::<Vec<_>>());
    assert_eq!(
        gate.came.load(Ordering::SeqCst),
        CALLERS,
        "no append was lost to another"
    );
    assert!(ports.queue.is_empty());
}

#[tokio::test]
async fn callers_who_have_gone_leave_the_queue() {
    let log = store(&database().await).await;
    let gate = Gate::before(log.clone(), HOT);
    let ports = ports(gate.clone());
    let callers = Callers::come(&ports, 10).await;
    for gone in [1, 4, 5, 9] {
        callers.tasks[gone].abort();
    }
    until(|| ports.queue.length(&Add::stream(HOT)) == 6).await;
    gate.passes.add_permits(6);
    assert_eq!(callers.end().await, [0, 2, 3, 6, 7, 8]);
    assert_eq!(counts(&*log, HOT).await, [1, 2, 3, 4, 5, 6]);
    assert!(ports.queue.is_empty());
}

/// Who goes while the append is under way leaves its turn; whether it was recorded is what the next finds in the log.
#[tokio::test]
async fn a_caller_who_goes_in_its_turn_leaves_it_to_the_next() {
    let log = store(&database().await).await;
    let gate = Gate::before(log.clone(), HOT);
    let ports = ports(gate.clone());
    let callers = Callers::come(&ports, 3).await;
    until(|| gate.came.load(Ordering::SeqCst) == 1).await;
    record(&*log, HOT, 1).await; // its append, say, which nobody hears of
    callers.tasks[0].abort();
    gate.passes.add_permits(3);
    assert_eq!(callers.end().await, [1, 2]);
    assert_eq!(counts(&*log, HOT).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_full_queue_refuses_and_nothing_is_recorded() {
    let log = store(&database().await).await;
    let gate = Gate::before(log.clone(), HOT);
    let ports = Ports {
        queue: WriteQueue::new(3),
        ..ports(gate.clone())
    };
    let callers = Callers::come(&ports, 3).await;
    let refused = whatever(&ports, HOT).await;
    assert!(matches!(refused, Err(ExecuteError::Busy)), "{refused:?}");
    gate.passes.add_permits(3);
    assert_eq!(callers.end().await, [0, 1, 2]);
    assert_eq!(counts(&*log, HOT).await, [1, 2, 3]);
}

/// What is remembered may be behind another process: it decides nothing that is not recorded.
#[tokio::test]
async fn a_refusal_is_decided_on_the_log() {
    let log = store(&database().await).await;
    let ports = ports(log.clone());
    let meta = Metadata::default();
    let add = async |expected| {
        execute(
            &ports,
            &Principal::System("test"),
            &meta,
            &Add::after(HOT, expected),
        )
        .await
    };
    add(0).await.expect("recorded");
    record(&*log, HOT, 2).await;
    add(3)
        .await
        .expect("that many there are, though this process knew of one");
    let refused = add(3).await;
    assert!(matches!(refused, Err(ExecuteError::Refused(_))), "{refused:?}");
    assert_eq!(counts(&*log, HOT).await, [1, 2, 3, 4]);
}

/// A history that nobody knows yet is loaded once, however many callers come at the same time.
#[tokio::test]
async fn a_long_history_is_loaded_by_one_of_its_callers() {
    const HISTORY: usize = 2_000;
    let log = store(&database().await).await;
    record(&*log, HOT, HISTORY).await;
    let counting = Counting::over(log.clone());
    let ports = ports(counting.clone());
    let recorded = try_join_all((0..64).map(|_| whatever(&ports, HOT))).await;
    recorded.expect("recorded");
    assert_eq!(counting.take(), (1, HISTORY));
    assert_eq!(counts(&*log, HOT).await.len(), HISTORY + 64);
}

/// What is only checked is not queued for, until an append is lost there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_checks_a_stream_that_others_write_comes_to_its_end() {
    let log = store(&database().await).await;
    let ports = ports(log.clone());
    let writing = (0..8).map(|_| async {
        for _ in 0..25 {
            whatever(&ports, HOT).await?;
        }
        Ok::<_, ExecuteError<Miscounted>>(())
    });
    let checking = async {
        for n in 0..25 {
            let command = Add::after("checking", n).checking([HOT]);
            execute(&ports, &Principal::System("test"), &Metadata::default(), &command).await?;
        }
        Ok::<_, ExecuteError<_>>(())
    };
    let (written, checked) = futures::join!(try_join_all(writing), checking);
    written.expect("recorded");
    checked.expect("recorded");
    assert_eq!(counts(&*log, HOT).await, (1..=200).collect::<Vec<_>>());
}

/// Records that `owner` has taken `count` projects.
async fn take(store: &dyn EventStore, owner: UserId, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for some in numbers.chunks(1_000) {
        let event = |n: &usize| {
            let (quota, item) = (Quota::Projects, format!("prj_{n}"));
            encode(SystemIds.next(), &LedgerEvent::Taken { quota, item }).expect("JSON")
        };
        let write = StreamWrite {
            stream: QuotaLedger::stream(owner),
            expected: Expected::Any,
            events: some.iter().map(event).collect(),
        };
        let (writes, meta) = (vec![write], Metadata::default());
        store.append(Append { writes, meta }).await.expect("recorded");
    }
}

/// FL1: what a command asks the log for does not grow with its owner's history.
#[tokio::test]
async fn a_command_loads_the_same_however_long_its_owners_ledger_is() {
    let app = TestApp::start().await;
    let counting = Counting::over(app.system.app.ports.store.clone());
    let ports = ports(counting.clone());
    for (name, history) in [("short", 10), ("long", 3_000)] {
        let owner: UserId = app.person(name, "manager").await.user_id.parse().expect("a user");
        take(counting.as_ref(), owner, history).await;
        let create = async || {
            let command = CreateProject {
                project: ProjectId::from(SystemIds.next()),
                owner,
                name: "One of many".to_owned(),
                description: String::new(),
            };
            let meta = Metadata::default();
            execute(&ports, &person(owner), &meta, &command)
                .await
                .expect("recorded");
            counting.take()
        };
        assert!(create().await.1 > history, "the first loads what is behind");
        for _ in 0..3 {
            assert_eq!(create().await, (0, 0), "{name}: the log is asked for nothing");
        }
    }
    app.stop().await;
}

/// The account `user`, whose rights are read where they are used.
fn person(user: UserId) -> Principal {
    Principal::User(Box::new(UserPrincipal {
        user,
        session: None,
        organization: None,
        account: AccountState::Active,
        roles: Arc::default(),
        permissions: Arc::default(),
        may_grant: Arc::default(),
        quotas: Quotas::NOTHING,
    }))
}

/// FL1: 64 connections of one owner without a history lost 30 of 100 mutations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_of_64_callers_of_one_owner_is_sent_away() {
    const CALLERS: usize = 64;
    let app = TestApp::start().await;
    let owner = app.person("ada", "manager").await;
    let create =
        "mutation { createProject(input: { name: \"One\" }) { project { id } userErrors { message } } }";
    let creating = (0..CALLERS).map(|_| async {
        let mut ids = Vec::new();
        for _ in 0..3 {
            let created = owner.run(create, json!({})).await;
            assert_eq!(created.code(), None, "{created:?}");
            ids.push(created.data("createProject")["project"]["id"].to_string());
        }
        ids
    });
    let ids: BTreeSet<String> = join_all(creating).await.into_iter().flatten().collect();
    assert_eq!(ids.len(), 3 * CALLERS);
    app.stop().await;
}
