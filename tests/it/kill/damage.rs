//! The verifier finds what it says it finds: each invariant, broken once, by hand.

use std::{path::Path, time::Duration};

use anneal::verify::{AcknowledgementLog, Invariant, Report, Subject, verify};
use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::Quota,
    },
    aggregate::{Aggregate, Event, encode},
    clock::SystemClock,
    event_store::{Append, EventStore as _, Expected, Metadata, NewEvent, StreamId, StreamWrite},
    id::{Ids as _, JobId, ModelId, SessionId, SystemIds, UserId, WorkerId},
    identity::{
        reservation::{Reservation, ReservationEvent},
        session::{Session, SessionEvent},
    },
    jobs::{
        job::{Job, JobEvent, RestartFrom},
        progress::{Metrics, Progress, ProgressEvent},
    },
    models::model::ModelVersionRef,
};
use event_store::postgres::{Evidence, PostgresEventStore, Settings, address, admin_pool};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Executor as _};
use tests::harness::TestApp;

async fn report(app: &TestApp, acknowledgements: Option<AcknowledgementLog>) -> Report {
    let objects = app.data_dir.join("objects");
    let subject = Subject {
        url: &app.database_url,
        events: &app.database_url,
        objects: Ok(objects::testing::open(&objects)),
        data_dir: &app.data_dir,
        evidence: Evidence::default(),
        log_key: None,
        acknowledgements,
    };
    verify(subject).await.expect("it can be read")
}

fn found(report: &Report) -> Vec<(Invariant, String)> {
    report
        .faults
        .iter()
        .map(|fault| (fault.invariant, fault.what.clone()))
        .collect()
}

/// Asserts that just these invariants are broken, the first by these words.
fn assert_broken(report: &Report, invariants: &[Invariant], words: &str) {
    let faults = found(report);
    let mut broken: Vec<Invariant> = faults.iter().map(|(invariant, _)| *invariant).collect();
    broken.sort();
    broken.dedup();
    assert_eq!(broken, invariants, "{faults:#?}");
    assert!(
        faults.iter().any(|(_, what)| what.contains(words)),
        "{words}: {faults:#?}"
    );
}

/// Runs a statement that the log's own guard would refuse.
async fn by_force(app: &TestApp, statement: &str) {
    let admin = admin_pool(&app.database_url, 1).await.expect("a pool");
    let guarded = format!(
        "begin; alter table event disable trigger event_is_append_only; {statement}; \
         alter table event enable always trigger event_is_append_only; commit"
    );
    admin
        .execute(sqlx::raw_sql(AssertSqlSafe(guarded)))
        .await
        .expect("done by force");
    admin.close().await;
}

/// Waits until a checkpoint of the whole log is recorded.
async fn until_signed(app: &TestApp, end: u64) {
    let admin = admin_pool(&app.database_url, 1).await.expect("a pool");
    let signed = async {
        loop {
            let size: Option<i64> = sqlx::query_scalar("select max(size) from event_tree_head")
                .fetch_one(&admin)
                .await
                .expect("readable");
            if size.is_some_and(|size| size.unsigned_abs() == end) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), signed)
        .await
        .expect("it is signed");
    admin.close().await;
}

/// AU-3: events, their order, read models, leases and files, each damaged, found and mended.
#[tokio::test]
async fn damage_is_named_where_it_is() {
    let app = TestApp::start().await;
    let dataset = app.admin.dataset("Text").await;
    let uploaded = app
        .admin
        .upload(&dataset, "text.txt", b"some words\nand more".to_vec())
        .await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    assert_eq!(found(&report(&app, None).await), []);

    by_force(
        &app,
        "update event set data = '{}' where kind = 'datasets.DatasetCreated'",
    )
    .await;
    let broken = [Invariant::Chain, Invariant::Readable, Invariant::ReadModels];
    assert_broken(
        &report(&app, None).await,
        &broken,
        "datasets.DatasetCreated at position",
    );
}

/// What is not in the log's own table.
#[tokio::test]
async fn read_models_leases_and_files_are_compared_with_the_log() {
    let app = TestApp::start().await;
    let dataset = app.admin.dataset("Text").await;
    let uploaded = app
        .admin
        .upload(&dataset, "text.txt", b"some words\nand more".to_vec())
        .await;
    let sha256 = uploaded.body["sha256"].as_str().expect("a hash").to_owned();

    by_force(&app, "update datasets_dataset set name = 'Mine'").await;
    assert_broken(&report(&app, None).await, &[Invariant::ReadModels], "\"Mine\"");
    by_force(&app, "update datasets_dataset set name = 'Text'").await;

    let job = JobId(SystemIds.next());
    by_force(
        &app,
        &format!(
            "insert into jobs_lease values ('{}', 1, gen_random_uuid(), 'w', now(), now())",
            job.0
        ),
    )
    .await;
    assert_broken(&report(&app, None).await, &[Invariant::Leases], &job.to_string());
    by_force(&app, "delete from jobs_lease").await;

    let objects = app.data_dir.join("objects");
    let file = objects.join("datasets").join(&sha256);
    let bytes = std::fs::read(&file).expect("it is there");
    std::fs::write(&file, b"other words").expect("written");
    assert_broken(&report(&app, None).await, &[Invariant::Files], &sha256);
    std::fs::remove_file(&file).expect("removed");
    assert_broken(&report(&app, None).await, &[Invariant::Files], "cannot be read");
    std::fs::write(&file, bytes).expect("written");
    std::fs::create_dir_all(objects.join("artifacts/job_1/1")).expect("made");
    std::fs::write(objects.join("artifacts/job_1/1/left"), b"over").expect("written");
    let whole = report(&app, None).await;
    assert_eq!(found(&whole), []);
    assert!(
        whole
            .notes
            .iter()
            .any(|note| note.what.contains("artifacts/job_1/1/left")),
        "{whole:?}"
    );

    by_force(
        &app,
        "update projection_checkpoint set position = 999999 where name = 'jobs.job'",
    )
    .await;
    assert_broken(&report(&app, None).await, &[Invariant::ReadModels], "999999");
}

/// A journal that knows more than the log; a log that lost its end although its head was moved along.
#[tokio::test]
async fn a_truncated_log_is_found_by_what_was_told_signed_and_folded() {
    let app = TestApp::start().await;
    let dataset = app.admin.dataset("Text").await;
    let end = report(&app, None).await.events;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let acknowledgements = |lines: &str| {
        std::fs::write(file.path(), lines).expect("written");
        Some(AcknowledgementLog::read(Path::new(file.path())).expect("a journal"))
    };
    let told = format!("{end}\n{end} datasets.dataset-{dataset}\n");
    assert_eq!(found(&report(&app, acknowledgements(&told)).await), []);
    let other = format!("{} datasets.dataset-dst_0\n{}", end, SystemIds.next());
    let broken = report(&app, acknowledgements(&other)).await;
    assert_broken(&broken, &[Invariant::Acknowledged], "datasets.dataset-dst_0");
    assert_eq!(broken.faults.len(), 2, "{broken:?}");

    until_signed(&app, end).await;
    let tail = format!(
        "delete from event where pos = {end}; \
         update event_head set pos = e.pos, hash = e.hash from (select pos, hash from event order by pos desc limit 1) e"
    );
    by_force(&app, &tail).await;
    let broken = report(&app, acknowledgements(&told)).await;
    let invariants = [Invariant::Chain, Invariant::ReadModels, Invariant::Acknowledged];
    assert_broken(&broken, &invariants, "was acknowledged and is recorded 0 times");
}

struct Forger(std::sync::Arc<PostgresEventStore>);

impl Forger {
    /// Records facts that no decider would.
    async fn record<A: Aggregate>(&self, key: impl std::fmt::Display, events: &[A::Event])
    where
        A::Event: Event,
    {
        let events = events
            .iter()
            .map(|event| encode(SystemIds.next(), event).expect("it encodes"));
        let write = StreamWrite {
            stream: A::stream(key),
            expected: Expected::Any,
            events: events.collect(),
        };
        let meta = Metadata {
            actor: "user:forger".to_owned(),
            ..Metadata::default()
        };
        let append = Append {
            writes: vec![write],
            meta,
        };
        self.0.append(append).await.expect("recorded");
    }
}

fn leased(attempt: u32) -> JobEvent {
    JobEvent::Leased {
        attempt,
        worker: WorkerId(SystemIds.next()),
        worker_name: "w".to_owned(),
        leased_at: None,
        gpu: false,
    }
}

/// I5, I9 and the ledgers: facts that contradict those before, in a chain that is whole.
#[tokio::test]
async fn facts_that_contradict_each_other_are_told() {
    let app = TestApp::start().await;
    let options = address(&app.database_url).expect("a URL");
    let store = PostgresEventStore::start(options, Settings::default(), std::sync::Arc::new(SystemClock));
    let forger = Forger(store.await.expect("started"));

    let job = JobId(SystemIds.next());
    let completed = |attempt| JobEvent::Completed {
        attempt,
        model: ModelVersionRef {
            model: ModelId(SystemIds.next()),
            version: 1,
        },
        metrics: std::collections::BTreeMap::new(),
    };
    forger.record::<Job>(job, &[leased(1), leased(3)]).await;
    let stale = ProgressEvent::Reported {
        attempt: 1,
        metrics: Metrics::default(),
    };
    forger.record::<Progress>(job, &[stale]).await;
    forger.record::<Job>(job, &[completed(3), completed(3)]).await;
    let restarted = JobEvent::Restarted {
        attempt: 1,
        from: RestartFrom::Scratch,
    };
    forger
        .record::<Job>(JobId(SystemIds.next()), &[leased(1), completed(1), restarted])
        .await;
    let paused = JobEvent::Paused {
        attempt: 0,
        reason: String::new(),
    };
    forger
        .record::<Job>(JobId(SystemIds.next()), &[paused.clone(), leased(1), paused])
        .await;

    let owner = UserId(SystemIds.next());
    let item = job.to_string();
    let quota = Quota::ConcurrentJobs;
    let released = LedgerEvent::Released {
        quota,
        item: "job_x".to_owned(),
    };
    forger
        .record::<QuotaLedger>(owner, &[released, LedgerEvent::Taken { quota, item }])
        .await;
    let taken = |user| ReservationEvent::Taken {
        user,
        scope: "email".to_owned(),
    };
    forger
        .record::<Reservation>("abc", &[taken(owner), taken(UserId(SystemIds.next()))])
        .await;

    let root: String = sqlx::query_scalar("select id::text from identity_user limit 1")
        .fetch_one(&app.system.app.database)
        .await
        .expect("an account");
    let session = SessionId(SystemIds.next());
    let opened = SessionEvent::Opened {
        session,
        user: UserId(root.parse().expect("an id")),
        refresh_hash: "a".to_owned(),
        expires_at: time::OffsetDateTime::UNIX_EPOCH,
        device: None,
        deactivations: 0,
    };
    let revoked = SessionEvent::Revoked {
        cause: "logout".to_owned(),
    };
    let refreshed = SessionEvent::Refreshed {
        refresh_hash: "b".to_owned(),
    };
    forger
        .record::<Session>(session, &[opened, revoked, refreshed])
        .await;

    let report = report(&app, None).await;
    let told: Vec<String> = found(&report).into_iter().map(|(_, what)| what).collect();
    for words in [
        "attempt 3 begins",
        "attempt 1 reports",
        "ended at position",
        "without having failed",
        "while it is paused",
        "while a worker has it",
        "job_x",
        "still takes a place",
        "the reservation abc",
        "refreshed at position",
    ] {
        assert!(told.iter().any(|what| what.contains(words)), "{words}: {told:#?}");
    }
    assert!(
        report.checked.contains(&Invariant::Chain),
        "the chain itself is whole"
    );
    forger.0.close(std::time::Duration::from_secs(5)).await;
}

/// An event that this build cannot read is named, and stops nothing else from being checked.
#[tokio::test]
async fn an_unreadable_event_is_named() {
    let app = TestApp::start().await;
    let options = address(&app.database_url).expect("a URL");
    let store = PostgresEventStore::start(options, Settings::default(), std::sync::Arc::new(SystemClock));
    let store = store.await.expect("started");
    let event = NewEvent {
        id: SystemIds.next(),
        kind: "jobs.JobDreamt".to_owned(),
        schema_version: 1,
        data: RawValue::from_string("{}".to_owned()).expect("JSON"),
    };
    let write = StreamWrite {
        stream: StreamId::new("jobs.job", "job_1"),
        expected: Expected::NoStream,
        events: vec![event],
    };
    let append = Append {
        writes: vec![write],
        meta: Metadata::default(),
    };
    let position = store.append(append).await.expect("recorded").position;
    let report = report(&app, None).await;
    let words = format!("jobs.JobDreamt at position {position}");
    assert!(
        report
            .faults
            .iter()
            .any(|fault| fault.invariant == Invariant::Readable && fault.what.contains(&words)),
        "{report:?}"
    );
    assert!(report.checked.contains(&Invariant::Files));
    store.close(std::time::Duration::from_secs(5)).await;
}
