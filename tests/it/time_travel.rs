//! Time travel (AU-4): every answer about the past is the one that was right then.

mod answers;
mod cost;
mod from_outside;
mod oracle;
mod scene;

use domain::event_store::{EventStore, Filter, Position, RecordedEvent};
use projections::history::{AsOfError, Asked, Instant, Moment, resolve};
use time::{Duration, OffsetDateTime};

use answers::ask;
use domain::clock::Clock;
use oracle::Replay;
use scene::{PATIENCE, Scene};

async fn log(scene: &Scene) -> Vec<RecordedEvent> {
    let all = Filter::all();
    let page = scene
        .store
        .read_all(Position::START, &all, 100_000)
        .await
        .expect("readable");
    assert_eq!(
        page.next,
        scene.store.head().await.expect("a head"),
        "read to its end"
    );
    page.events
}

/// Compares all answers at every `stride`th position with those of a replay up to there.
async fn compare(scene: &Scene, seed: u64, stride: usize, when: &str) {
    let mut replay = Replay::default();
    let mut position = Position::START;
    for (index, event) in log(scene).await.iter().map(Some).chain([None]).enumerate() {
        if index % stride == 0 || event.is_none() {
            let found = ask(&scene.pool, Moment::AsOf(position), &scene.cast).await;
            let right = replay.answers(&scene.cast);
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
    let now = ask(&scene.pool, Moment::Now, &scene.cast).await;
    let then = ask(&scene.pool, Moment::AsOf(position), &scene.cast).await;
    assert_eq!(now, then, "seed {seed}, {when}: the head is the present");
}

/// A random history, asked about while it goes on, at its end, and after the read models were folded anew.
async fn travel(seed: u64) {
    let mut scene = Scene::start(seed).await;
    scene.happen(60).await;
    compare(&scene, seed, 7, "half-way").await;
    scene.happen(60).await;
    compare(&scene, seed, 1, "at the end").await;
    times(&scene).await;
    scene.fold_anew().await;
    compare(&scene, seed, 1, "folded anew").await;
    // What is recorded after that fits the past that was folded anew.
    scene.happen(20).await;
    compare(&scene, seed, 5, "going on").await;
}

async fn at(scene: &Scene, asked: Asked) -> Result<Instant, AsOfError> {
    let (pool, store, progress) = (&scene.pool, scene.store.as_ref(), &scene.reading.progress);
    resolve(pool, store, progress, scene.clock.now(), PATIENCE, asked).await
}

/// Every time between events, at them, before the first and after the last means the right position.
async fn times(scene: &Scene) {
    let events = log(scene).await;
    let mut asked: Vec<OffsetDateTime> = Vec::new();
    for event in &events {
        asked.extend([
            event.at - Duration::microseconds(1),
            event.at,
            event.at + Duration::nanoseconds(1_700),
        ]);
    }
    asked.retain(|time| *time <= scene.clock.now());
    asked.push(scene.clock.now());
    for time in asked {
        let last = events.iter().rfind(|event| event.at <= time);
        let right = Instant {
            position: last.map_or(Position::START, |event| event.position),
            at: last.map(|event| event.at),
        };
        let found = at(scene, Asked::At(time)).await.expect("a moment");
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
    let scene = Scene::start(4).await;
    scene.settle().await;
    let head = scene.store.head().await.expect("a head");
    let beyond = at(&scene, Asked::Position(Position(head.0 + 1))).await;
    assert!(
        matches!(beyond, Err(AsOfError::Beyond { head: at, .. }) if at == head),
        "{beyond:?}"
    );
    let future = at(&scene, Asked::At(scene.clock.now() + Duration::microseconds(1))).await;
    assert!(matches!(future, Err(AsOfError::Future { .. })), "{future:?}");
    let nothing = Instant {
        position: Position::START,
        at: None,
    };
    let before = log(&scene).await[0].at - Duration::days(365 * 30);
    assert_eq!(at(&scene, Asked::At(before)).await.expect("a moment"), nothing);
    assert_eq!(
        at(&scene, Asked::Position(Position::START))
            .await
            .expect("a moment"),
        nothing
    );
    let empty = ask(&scene.pool, Moment::AsOf(Position::START), &scene.cast).await;
    assert_eq!(empty, Replay::default().answers(&scene.cast));
}

/// AU-4: as long as a read model was folded by a build that kept no past, nobody is told that there was none.
#[tokio::test]
async fn a_past_that_is_not_gathered_yet_is_not_an_empty_one() {
    let scene = Scene::start(5).await;
    scene.settle().await;
    sqlx::query("update projection_checkpoint set version = 1 where name = 'jobs.job'")
        .execute(&scene.pool)
        .await
        .expect("as an earlier build left it");
    let refused = at(&scene, Asked::Position(Position(1))).await;
    assert!(
        matches!(&refused, Err(AsOfError::Gathering(name)) if name == "jobs.job"),
        "{refused:?}"
    );
}
