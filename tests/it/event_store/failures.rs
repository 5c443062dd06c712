//! What the PostgreSQL adapter does when things break: nothing acknowledged is lost, nothing is doubled.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::event_store::{AppendError, EventStore as _, Expected, Filter, Position, StoreError};
use event_store::postgres::{PostgresEventStore, Settings, address};
use futures::future::join_all;
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tests::harness::database;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use uuid::Uuid;

use super::{
    make::{append, event, several, write},
    open,
};

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect_with(&address(url).expect("a URL"))
        .await
        .expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_postgresql_cannot_store_fails_alone() {
    let database = database().await;
    let store = open(&database, Settings::default()).await;
    // Deeper than the server's stack: our own parser takes it, PostgreSQL's does not.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let outcomes = join_all((0..40).map(|n| {
        let good = append(&n.to_string(), Expected::NoStream, 1);
        let poison = several(vec![write(
            &n.to_string(),
            Expected::NoStream,
            vec![event(&deep)],
        )]);
        store.append(if n % 13 == 5 { poison } else { good })
    }))
    .await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(_) => assert_ne!(n % 13, 5),
            Err(AppendError::Malformed(why)) => assert!(n % 13 == 5 && why.contains("stack"), "{n}: {why}"),
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(store.verify().await.expect("intact").position, 37);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once_and_what_waits_is_still_recorded() {
    let database = database().await;
    let store = open(
        &database,
        Settings {
            queue_appends: 4,
            ..Settings::default()
        },
    )
    .await;
    let mut other = connect(&database.url).await;
    let mut lock = other.begin().await.expect("a transaction");
    sqlx::query("select from event_head for update")
        .execute(&mut *lock)
        .await
        .expect("the lock");

    // One batch of one append is under way; four wait.
    let first = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(append("first", Expected::NoStream, 1)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(append(&n.to_string(), Expected::NoStream, 1)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    match store.append(append("late", Expected::NoStream, 1)).await {
        Err(AppendError::Overloaded) => {}
        other => panic!("{other:?}"),
    }
    lock.rollback().await.expect("released");
    first.await.expect("no panic").expect("recorded");
    for one in join_all(waiting).await {
        one.expect("no panic").expect("recorded");
    }
    assert_eq!(store.head().await.expect("readable"), Position(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gave_up_gets_the_first_result_when_it_asks_again() {
    let database = database().await;
    let hasty = Settings {
        append_limit: Duration::from_millis(300),
        ..Settings::default()
    };
    let store = open(&database, hasty).await;
    let mut other = connect(&database.url).await;
    let mut lock = other.begin().await.expect("a transaction");
    sqlx::query("select from event_head for update")
        .execute(&mut *lock)
        .await
        .expect("the lock");
    let same = append("a", Expected::NoStream, 1);
    match store.append(same.clone()).await {
        Err(AppendError::Store(StoreError::Unavailable(why))) => assert!(why.contains("in time"), "{why}"),
        other => panic!("{other:?}"),
    }
    lock.rollback().await.expect("released");
    let first = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Ok(first) = store.append(same.clone()).await {
                break first;
            }
        }
    });
    let first = first.await.expect("in time");
    assert_eq!(store.append(same).await.expect("known"), first);
    assert_eq!(store.verify().await.expect("intact").position, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_loses_no_acknowledged_event_and_doubles_none() {
    let database = database().await;
    let store = open(&database, Settings::default()).await;
    let kills = AtomicU64::new(0);
    let writers = (0..8).map(|writer| {
        let (store, kills) = (&store, &kills);
        async move {
            let mut outcomes = HashMap::new();
            // On a busy machine the killer may come late.
            for n in (0..600).take_while(|n| *n < 60 || kills.load(Ordering::Relaxed) <= 5) {
                let append = append(&format!("{writer}-{n}"), Expected::NoStream, 1);
                let id = append.writes[0].events[0].id;
                outcomes.insert(id, store.append(append).await.is_ok());
            }
            outcomes
        }
    });
    let outcomes = tokio::select! {
        () = kill_writers(&database.url, &store, &kills) => unreachable!("it never ends"),
        outcomes = join_all(writers) => outcomes,
    };
    assert!(kills.into_inner() > 5, "the writer was under fire");
    let outcomes: HashMap<Uuid, bool> = outcomes.into_iter().flatten().collect();
    assert!(outcomes.len() >= 480);
    assert!(
        outcomes.values().all(|acknowledged| *acknowledged),
        "kills are ridden out within the deadline"
    );

    let mut times: HashMap<Uuid, u32> = HashMap::new();
    let page = store
        .read_all(Position::START, &Filter::all(), 10_000)
        .await
        .expect("readable");
    for event in &page.events {
        *times.entry(event.id).or_default() += 1;
    }
    for (id, acknowledged) in outcomes {
        let recorded = times.get(&id).copied().unwrap_or(0);
        assert!(
            recorded <= 1 && (!acknowledged || recorded == 1),
            "{id} was recorded {recorded} times"
        );
    }
    assert_eq!(store.verify().await.expect("intact").position, page.next.0);
}

/// Ends the writer's server process each time that some appends got through: on a slow machine, too, there
/// are many kills and still an end.
async fn kill_writers(url: &str, store: &PostgresEventStore, kills: &AtomicU64) {
    let mut other = connect(url).await;
    let mut spared = 0;
    for n in 0.. {
        tokio::time::sleep(Duration::from_millis(n % 5)).await;
        if store.known_head().0 < spared + 8 {
            continue;
        }
        spared = store.known_head().0;
        let ended = sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'anneal writer'",
        )
        .execute(&mut other)
        .await
        .expect("the right to end connections");
        kills.fetch_add(ended.rows_affected(), Ordering::Relaxed);
    }
}

/// The hardest moment: the server has committed, and its answer never arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_lost_at_commit_is_found_out_by_id() {
    let database = database().await;
    let direct = address(&database.url).expect("a URL");
    let server = direct
        .get_socket()
        .expect("the harness uses a socket")
        .join(socket_name(&direct));
    let folder = tempfile::tempdir().expect("a folder");
    let proxied = direct.clone().socket(folder.path());
    let listener = UnixListener::bind(folder.path().join(socket_name(&direct))).expect("a socket");
    let swallowed = Arc::new(AtomicU64::new(0));
    let proxy = tokio::spawn(swallow_commits(listener, server, Arc::clone(&swallowed)));

    let clock = Arc::new(domain::clock::SystemClock);
    let store = PostgresEventStore::start(proxied, Settings::default(), clock)
        .await
        .expect("started");
    let landed = join_all((0..3).map(|n| store.append(append(&n.to_string(), Expected::NoStream, 2)))).await;
    let mut positions: Vec<_> = landed
        .into_iter()
        .map(|one| one.expect("answered").position.0)
        .collect();
    positions.sort_unstable();
    assert_eq!(positions, [2, 4, 6]);
    assert!(swallowed.load(Ordering::Relaxed) > 0, "an answer was lost");
    assert_eq!(store.verify().await.expect("intact").position, 6);
    proxy.abort();
}

fn socket_name(options: &PgConnectOptions) -> String {
    format!(".s.PGSQL.{}", options.get_port())
}

/// Passes everything on, but ends the first two connections that commit before the answer comes back.
async fn swallow_commits(listener: UnixListener, server: PathBuf, swallowed: Arc<AtomicU64>) {
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        let upstream = UnixStream::connect(&server).await.expect("the server");
        let swallowed = Arc::clone(&swallowed);
        tokio::spawn(async move {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = upstream.into_split();
            let answers =
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                let sent = &buffer[..length];
                let commits = sent.windows(7).any(|bytes| bytes == b"commit\0");
                let swallow = commits && swallowed.load(Ordering::Relaxed) < 2;
                if swallow {
                    answers.abort();
                    swallowed.fetch_add(1, Ordering::Relaxed);
                }
                if to_server.write_all(sent).await.is_err() {
                    break;
                }
                if swallow {
                    // Long enough for the commit to happen.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    break;
                }
            }
            answers.abort();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_records_what_waits_and_refuses_what_comes() {
    let database = database().await;
    let store = open(&database, Settings::default()).await;
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(append(&n.to_string(), Expected::NoStream, 1)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(
        store.close(Duration::from_secs(20)).await,
        "everything was drained"
    );
    let outcomes = join_all(waiting).await;
    let recorded = outcomes
        .into_iter()
        .filter(|outcome| matches!(outcome, Ok(Ok(_))))
        .count();
    assert!(store.append(append("late", Expected::NoStream, 1)).await.is_err());
    assert!(
        store.close(Duration::from_secs(1)).await,
        "closing again does nothing"
    );
    let again = open(&database, Settings::default()).await;
    assert_eq!(again.head().await.expect("readable"), Position(recorded as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_outlives_lost_connections() {
    let database = database().await;
    let near = open(&database, Settings::default()).await;
    let far = open(&database, Settings::default()).await;
    let mut subscription = far.subscribe(Position::START, Filter::all());
    near.append(append("a", Expected::NoStream, 1))
        .await
        .expect("recorded");
    assert_eq!(subscription.next().await.expect("readable").next, Position(1));
    let mut other = connect(&database.url).await;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&mut other)
    .await
    .expect("the right to end connections");
    near.append(append("a", Expected::Exact(0), 1))
        .await
        .expect("recorded");
    let next = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Ok(page) = subscription.next().await {
                break page.next;
            }
        }
    });
    assert_eq!(next.await.expect("in time"), Position(2));
}

/// Back-pressure counts bytes as well as appends: a few large ones cannot fill the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_full_of_bytes_refuses_large_appends_and_takes_small_ones() {
    let database = database().await;
    let narrow = Settings {
        queue_bytes: 0, // the least: one append of the greatest size
        ..Settings::default()
    };
    let store = open(&database, narrow).await;
    let mut other = connect(&database.url).await;
    let mut lock = other.begin().await.expect("a transaction");
    sqlx::query("select from event_head for update")
        .execute(&mut *lock)
        .await
        .expect("the lock");
    let large = |key: &str| {
        let text = format!("\"{}\"", "x".repeat(1_000_000));
        let events = (0..10).map(|_| event(&text)).collect();
        several(vec![write(key, Expected::NoStream, events)])
    };
    let first = store.append(large("first"));
    let second = async {
        // Polled after the first, which has its share by then.
        match store.append(large("second")).await {
            Err(AppendError::Overloaded) => {}
            other => panic!("{other:?}"),
        }
        let small = store.append(append("small", Expected::NoStream, 1));
        let (small, ()) = tokio::join!(small, async { lock.rollback().await.expect("released") });
        small.expect("there was room for a small one");
    };
    let (first, ()) = tokio::join!(biased; first, second);
    first.expect("recorded");
    store.append(large("second")).await.expect("there is room again");
    assert_eq!(store.head().await.expect("readable"), Position(21));
}

/// A server that does not answer costs a reader its deadline, not its life, and it can ask again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gives_up_on_a_server_that_does_not_answer() {
    let database = database().await;
    let store = open(
        &database,
        Settings {
            statement_limit: Duration::from_millis(300),
            ..Settings::default()
        },
    )
    .await;
    store
        .append(append("a", Expected::NoStream, 3))
        .await
        .expect("recorded");
    let mut other = connect(&database.url).await;
    let mut lock = other.begin().await.expect("a transaction");
    sqlx::raw_sql("lock table event, event_head in access exclusive mode")
        .execute(&mut *lock)
        .await
        .expect("the lock");
    let (wanted, all) = (super::make::stream("a"), Filter::all());
    let mut subscription = store.subscribe(Position::START, Filter::all());
    let waits = async {
        let outcomes = [
            store.load(&wanted, 0).await.map(drop),
            store.read_all(Position::START, &all, 10).await.map(drop),
            store.head().await.map(drop),
            subscription.next().await.map(drop),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits)
        .await
        .expect("each reader has a deadline of its own");
    lock.rollback().await.expect("released");
    assert_eq!(store.load(&wanted, 0).await.expect("readable").len(), 3);
    assert_eq!(subscription.next().await.expect("readable").next, Position(3));
}

/// After the store is closed every call says so; none hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_answers_every_call_with_unavailable() {
    let database = database().await;
    let store = open(&database, Settings::default()).await;
    let mut waiting = store.subscribe(Position::START, Filter::all());
    let follower = tokio::spawn(async move { waiting.next().await.map(drop) });
    assert!(store.close(Duration::from_secs(20)).await);
    let (wanted, all) = (super::make::stream("a"), Filter::all());
    let calls = async {
        let late = store.append(append("late", Expected::NoStream, 1)).await;
        assert!(
            matches!(late, Err(AppendError::Store(StoreError::Unavailable(_)))),
            "{late:?}"
        );
        let outcomes = [
            store.load(&wanted, 0).await.map(drop),
            store.read_all(Position::START, &all, 10).await.map(drop),
            store.head().await.map(drop),
            follower.await.expect("no panic"),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), calls)
        .await
        .expect("none hangs");
}
