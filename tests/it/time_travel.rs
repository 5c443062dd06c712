//! Time travel (AU-4): every answer about the past is the one that was right then.

mod ahead;
mod answers;
mod cost;
mod from_outside;
mod oracle;
mod scenario;

use domain::event_store::{EventStore, Filter, Position, RecordedEvent};
use projections::history::{AsOf, AsOfError, AsOfRequest, LogInstant, resolve};
use time::{Duration, OffsetDateTime};

use answers::ask;
use domain::clock::Clock;
use oracle::Replay;
use scenario::{Scenario, TIMEOUT};

async fn log(scenario: &Scenario) -> Vec<RecordedEvent> {
    let all = Filter::all();
    let page = scenario
        .store
        .read_all(Position::START, &all, 100_000)
        .await
        .expect("readable");
    assert_eq!(
        page.next,
        scenario.store.head().await.expect("a head"),
        "read to its end"
    );
    page.events
}

/// Compares all answers at every `stride`th position with those of a replay up to there.
async fn compare(scenario: &Scenario, seed: u64, stride: usize, when: &str) {
    let mut replay = Replay::default();
    let mut position = Position::START;
    for (index, event) in log(scenario).await.iter().map(Some).chain([None]).enumerate() {
        if index % stride == 0 || event.is_none() {
            let found = ask(&scenario.pool, AsOf::AsOf(position), &scenario.participants).await;
            let right = replay.answers(&scenario.participants);
            for (question, answer) in &right {
                let found = found.get(question);
                assert_eq!(
                    found,
                    Some(answer),
                    "seed {seed}, {when}: {question} as of {position}"
                );
            }
            assert_eq!(found.len(), right.len(), "seed {seed}, {when}: as of {position}");
        }
        if let Some(event) = event {
            replay.step(event);
            position = event.position;
        }
    }
    let now = ask(&scenario.pool, AsOf::Now, &scenario.participants).await;
    let then = ask(&scenario.pool, AsOf::AsOf(position), &scenario.participants).await;
    assert_eq!(now, then, "seed {seed}, {when}: the head is the present");
}

/// A random history, asked about while it goes on, at its end, and after the read models were folded anew.
async fn travel(seed: u64) {
    let mut scenario = Scenario::start(seed).await;
    scenario.happen(60).await;
    compare(&scenario, seed, 7, "half-way").await;
    scenario.happen(60).await;
    compare(&scenario, seed, 1, "at the end").await;
    times(&scenario).await;
    scenario.fold_anew().await;
    compare(&scenario, seed, 1, "folded anew").await;
    // What is recorded after that fits the past that was folded anew.
    scenario.happen(20).await;
    compare(&scenario, seed, 5, "going on").await;
}

async fn at(scenario: &Scenario, asked: AsOfRequest) -> Result<LogInstant, AsOfError> {
    let (pool, store, progress) = (
        &scenario.pool,
        scenario.store.as_ref(),
        &scenario.reading.progress,
    );
    resolve(pool, store, progress, scenario.clock.now(), TIMEOUT, asked).await
}

/// Every time between events, at them, before the first and after the last means the right position.
async fn times(scenario: &Scenario) {
    let events = log(scenario).await;
    let mut asked: Vec<OffsetDateTime> = Vec::new();
    for event in &events {
        asked.extend([
            event.at - Duration::microseconds(1),
            event.at,
            event.at + Duration::nanoseconds(1_700),
        ]);
    }
    asked.retain(|time| *time <= scenario.clock.now());
    asked.push(scenario.clock.now());
    for time in asked {
        let last = events.iter().rfind(|event| event.at <= time);
        let right = LogInstant {
            position: last.map_or(Position::START, |event| event.position),
            at: last.map(|event| event.at),
        };
        let found = at(scenario, AsOfRequest::At(time)).await.expect("a moment");
        assert_eq!(found, right, "at {time}");
    }
}

/// AU-4: roles, grants, projects, quotas and jobs, as of every position, against a replay of the log.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_one_of_then_1() {
    travel(1).await;
}

/// AU-4, with another history.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_one_of_then_2() {
    travel(2).await;
}

/// AU-4, with yet another history; `ANNEAL_TEST_SEED` names one to repeat.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_one_of_then_3() {
    let given = std::env::var("ANNEAL_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    travel(given.unwrap_or(3)).await;
}

/// AU-4: there is no answer about what has not come, and nothing before the first event.
#[tokio::test]
async fn the_future_is_refused_and_before_the_first_event_is_nothing() {
    let scenario = Scenario::start(4).await;
    scenario.settle().await;
    let head = scenario.store.head().await.expect("a head");
    let beyond = at(&scenario, AsOfRequest::Position(Position(head.0 + 1))).await;
    assert!(
        matches!(beyond, Err(AsOfError::Beyond { head: at, .. }) if at == head),
        "{beyond:?}"
    );
    let future = at(
        &scenario,
        AsOfRequest::At(scenario.clock.now() + Duration::microseconds(1)),
    )
    .await;
    assert!(matches!(future, Err(AsOfError::Future { .. })), "{future:?}");
    let nothing = LogInstant {
        position: Position::START,
        at: None,
    };
    let before = log(&scenario).await[0].at - Duration::days(365 * 30);
    assert_eq!(
        at(&scenario, AsOfRequest::At(before)).await.expect("a moment"),
        nothing
    );
    assert_eq!(
        at(&scenario, AsOfRequest::Position(Position::START))
            .await
            .expect("a moment"),
        nothing
    );
    let empty = ask(
        &scenario.pool,
        AsOf::AsOf(Position::START),
        &scenario.participants,
    )
    .await;
    assert_eq!(empty, Replay::default().answers(&scenario.participants));
}

/// AU-4: as long as a read model was folded by a build that kept no past, nobody is told that there was none.
#[tokio::test]
async fn a_past_that_is_not_gathered_yet_is_not_an_empty_one() {
    let scenario = Scenario::start(5).await;
    scenario.settle().await;
    sqlx::query("update projection_checkpoint set version = 1 where name = 'jobs.job'")
        .execute(&scenario.pool)
        .await
        .expect("as an earlier build left it");
    let refused = at(&scenario, AsOfRequest::Position(Position(1))).await;
    assert!(
        matches!(&refused, Err(AsOfError::HistoryIncomplete(name)) if name == "jobs.job"),
        "{refused:?}"
    );
}
