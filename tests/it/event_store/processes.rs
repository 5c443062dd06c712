//! The log under several processes: what one of them records, followers in another see once and in order.

use std::{
    collections::{HashMap, HashSet},
    process::Stdio,
    time::Duration,
};

use domain::event_store::{EventStore, Filter, Position, RecordedEvent};
use event_store::postgres::Settings;
use tests::harness::database;
use tokio::process::Command;
use uuid::Uuid;

use super::open;

const PROCESSES: usize = 4;
const WRITERS: usize = 4;
const APPENDS: usize = 40;
const EVENTS: usize = PROCESSES * WRITERS * APPENDS * 2;
/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// What a process says to have had acknowledged.
async fn write(url: &str, process: usize) -> Vec<Uuid> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_log_writer"));
    command.arg(url);
    command.args((0..WRITERS).map(|writer| format!("{process}.{writer}")));
    command.arg(APPENDS.to_string());
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = running.await.expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| {
            let (id, _) = line.split_once(' ').expect("an id and a position");
            id.parse().expect("an id")
        })
        .collect()
}

/// Reads as it is written; after `each` pages it gives its subscription up and resumes with another.
async fn follow(store: &dyn EventStore, each: usize) -> Vec<RecordedEvent> {
    let mut seen: Vec<RecordedEvent> = Vec::new();
    while seen.len() < EVENTS {
        let after = seen.last().map_or(Position::START, |event| event.position);
        let mut subscription = store.subscribe(after, Filter::all());
        let mut pages = 0;
        while seen.len() < EVENTS && pages < each {
            seen.extend(subscription.next().await.expect("readable").events);
            pages += 1;
        }
    }
    seen
}

/// Spec 11, E2: four processes of four writers each, and two followers in a fifth, one of which starts over and
/// over. Strict order, nothing skipped, nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_miss_nothing_of_what_other_processes_write() {
    let database = database().await;
    let store = open(&database, Settings::default()).await;
    let writing = futures::future::join_all((0..PROCESSES).map(|process| write(&database.url, process)));
    let all = async { tokio::join!(writing, follow(&*store, usize::MAX), follow(&*store, 3)) };
    let (acknowledged, steady, restless) = tokio::time::timeout(LIMIT, all).await.expect("in time");
    let acknowledged: HashSet<Uuid> = acknowledged.into_iter().flatten().collect();
    assert_eq!(acknowledged.len(), EVENTS);
    for seen in [steady, restless] {
        assert!(seen.is_sorted_by(|one, next| one.position < next.position && one.at <= next.at));
        assert!(seen.iter().all(|event| acknowledged.contains(&event.id)));
        let mut next: HashMap<_, u64> = HashMap::new();
        for event in &seen {
            let revision = next.entry(&event.stream).or_default();
            assert_eq!(event.revision, *revision, "of {}", event.stream);
            *revision += 1;
        }
        assert_eq!(next.len(), PROCESSES * WRITERS);
        assert_eq!(seen.len(), EVENTS);
    }
    assert_eq!(store.verify().await.expect("intact").position, EVENTS as u64);
}
