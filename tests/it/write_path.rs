//! The write path with remembered aggregates: what it loads, and that what it decides on is exact.
//!
//! The rule: loads are counted, never timed. How long a decision takes is a figure of `benches`.

mod counter;
mod turns;
mod under_way;

use std::sync::Arc;

use domain::{
    authz::Principal,
    clock::SystemClock,
    event_store::{EventStore, Metadata},
    execute::{ExecuteError, Ports, execute},
    id::SystemIds,
    rights::LogRights,
};
use event_store::postgres::{PostgresEventStore, Settings, address};
use futures::future::try_join_all;
use tests::harness::{Database, database};

use self::counter::{Add, Counter, Counting, Tally, record};

/// Events of the hot stream.
const HOT: usize = 10_000;

async fn store(database: &Database) -> Arc<PostgresEventStore> {
    let options = address(&database.url).expect("the harness gives a URL");
    PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock))
        .await
        .expect("the store starts")
}

fn ports(store: Arc<dyn EventStore>) -> Ports {
    Ports::new(
        store,
        Arc::new(SystemClock),
        Arc::new(SystemIds),
        Arc::new(LogRights),
    )
}

async fn add(ports: &Ports, command: &Add) {
    execute(ports, &Principal::System("test"), &Metadata::default(), command)
        .await
        .expect("recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_stream_is_loaded_once_and_then_only_what_others_recorded() {
    let database = database().await;
    let log = store(&database).await;
    record(&*log, "hot", HOT).await;
    let counting = Counting::over(log.clone());
    let ports = ports(counting.clone());

    add(&ports, &Add::after("hot", HOT)).await;
    assert_eq!(counting.take(), (1, HOT), "cold: one round trip for everything");
    add(&ports, &Add::after("hot", HOT + 1)).await;
    assert_eq!(counting.take(), (0, 0), "hot: what this process records it knows");

    record(&*log, "hot", 3).await;
    add(&ports.clone(), &Add::after("hot", HOT + 5)).await;
    assert_eq!(
        counting.take(),
        (1, 3),
        "another process's events, and a clone remembers too"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_streams_of_a_command_come_in_one_round_trip() {
    let database = database().await;
    let log = store(&database).await;
    for key in ["one", "two", "three"] {
        record(&*log, key, 2).await;
    }
    let counting = Counting::over(log);
    let ports = ports(counting.clone());
    let command = Add::after("one", 2).checking(["two", "three"]);
    add(&ports, &command).await;
    assert_eq!(counting.take(), (1, 6));
}

/// AU-7: erased personal data do not live on in what is remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_loaded_again() {
    let database = database().await;
    let log = store(&database).await;
    record(&*log, "a", 5).await;
    let counting = Counting::over(log);
    let ports = ports(counting.clone());
    add(&ports, &Add::after("a", 5)).await;
    ports.aggregates.forget(&Add::stream("a"));
    add(&ports, &Add::after("a", 6)).await;
    assert_eq!(counting.take(), (2, 5 + 6));
    ports.aggregates.clear();
    add(&ports, &Add::after("a", 7)).await;
    assert_eq!(counting.take(), (1, 7));
}

/// Two types over one stream: neither decides on what the other has folded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_another_type_is_not_decided_on() {
    let database = database().await;
    let counting = Counting::over(store(&database).await);
    let ports = ports(counting.clone());
    add(&ports, &Add::after("a", 0)).await;
    add(&ports, &Add::after("a", 1)).await;
    add(&ports, &Add::tallying::<Tally>("a", 2)).await;
    add(&ports, &Add::tallying::<Counter>("a", 3)).await;
    // Nothing, then twice everything: neither type goes on from the other's state.
    assert_eq!(counting.take(), (3, 2 + 3));
}

/// Every decision is right about the count at which it lands, however many race in two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_decisions_of_two_processes_count_without_a_gap() {
    const RACERS: usize = 6;
    const EACH: usize = 20;
    let database = database().await;
    let (one, other) = (store(&database).await, store(&database).await);
    let processes = [ports(one.clone()), ports(other)];
    let racing = (0..RACERS).map(|racer| {
        let ports = processes[racer % 2].clone();
        async move {
            let mut recorded = 0;
            while recorded < EACH {
                let command = Add::whatever("raced");
                match execute(&ports, &Principal::System("test"), &Metadata::default(), &command).await {
                    Ok(_) => recorded += 1,
                    // Sixteen times overtaken: its caller is asked to try again.
                    Err(ExecuteError::Busy) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    });
    try_join_all(racing).await.expect("recorded");
    let counts = counter::counts(&*one, "raced").await;
    assert_eq!(counts, (1..=RACERS * EACH).collect::<Vec<_>>());
}

/// A log that was cut, or exchanged, beneath a running process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_beyond_the_end_of_its_log_is_dropped_at_the_conflict() {
    let (long, short) = (database().await, database().await);
    let (long, short) = (store(&long).await, store(&short).await);
    record(&*long, "a", 9).await;
    record(&*short, "a", 2).await;
    let before = ports(long);
    add(&before, &Add::after("a", 9)).await;
    let counting = Counting::over(short.clone());
    let after = Ports {
        store: counting.clone(),
        ..before
    };
    add(&after, &Add::whatever("a")).await;
    assert_eq!(counter::counts(&*short, "a").await, [1, 2, 3]);
    assert_eq!(
        counting.take(),
        (1, 2),
        "decided beyond the end, then loaded from the start"
    );
}
