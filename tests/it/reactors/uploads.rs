//! Room that an upload left behind (DS-3): given back at its time, unless it was extended or released.

use std::sync::Arc;

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    aggregate::load,
    clock::{Clock as _, SystemClock},
    event_store::EventStore as _,
    id::{JobId, UploadId, UserId},
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use workers::reactors::{datasets::Uploads, runner::NOT_DUE};

use super::fixture::{Fixture, settings};

const OWNER: UserId = UserId(Uuid::from_u128(7));

fn upload(number: u128) -> String {
    UploadId(Uuid::from_u128(number)).to_string()
}

fn reserved(number: u128, until: OffsetDateTime) -> LedgerEvent {
    LedgerEvent::StorageReserved {
        bytes: 5,
        until,
        item: upload(number),
    }
}

async fn open(fixture: &Fixture) -> Vec<String> {
    let ledger = load::<QuotaLedger>(fixture.store.as_ref(), OWNER)
        .await
        .expect("loaded");
    let all = (1..=3).map(upload);
    all.filter(|item| ledger.state.reserved_until(item).is_some())
        .collect()
}

/// One was left behind, one goes on and is extended, one ended as it should.
#[tokio::test]
async fn room_that_was_left_behind_is_given_back_at_its_time() {
    let fixture = Fixture::new().await;
    let runner = fixture.run_with(vec![Arc::new(Uploads)], settings()).await;
    let (soon, later) = (
        SystemClock.now() + Duration::seconds(2),
        SystemClock.now() + Duration::HOUR,
    );
    let item = upload(3);
    let events = [
        reserved(1, soon),
        reserved(2, soon),
        reserved(2, later),
        reserved(3, soon),
        LedgerEvent::StorageReleased { item },
        // Of an import, which its job releases.
        LedgerEvent::StorageReserved {
            bytes: 5,
            until: soon,
            item: JobId(Uuid::from_u128(1)).to_string(),
        },
    ];
    fixture.record::<QuotaLedger>(OWNER, &events).await;
    fixture
        .until("all of them wait", async || fixture.deliveries().await.len() >= 2)
        .await;
    for (kind, recipient, attempts, reason, dead) in fixture.deliveries().await {
        assert_eq!(
            (kind.as_str(), recipient, attempts, reason.as_str(), dead),
            ("command", Some(OWNER.to_string()), 0, NOT_DUE, false)
        );
    }
    assert_eq!(open(&fixture).await, [upload(1), upload(2)]);
    fixture
        .until("it is given back", async || open(&fixture).await == [upload(2)])
        .await;
    assert!(SystemClock.now() >= soon, "not before its time");
    fixture
        .until("one waits on", async || fixture.deliveries().await.len() == 1)
        .await;
    let head = fixture.store.head().await.expect("a head").0;
    runner.stopped().await;
    // Whoever reads the log again does it once.
    sqlx::query("update reactor_checkpoint set position = 0")
        .execute(&fixture.pool)
        .await
        .expect("lost");
    let runner = fixture.run_with(vec![Arc::new(Uploads)], settings()).await;
    fixture
        .until("it has read it again", async || {
            let at: i64 = sqlx::query_scalar("select position from reactor_checkpoint")
                .fetch_one(&fixture.pool)
                .await
                .expect("a checkpoint");
            at > 0
        })
        .await;
    assert_eq!(fixture.store.head().await.expect("a head").0, head);
    assert_eq!(fixture.deliveries().await.len(), 1);
    runner.stopped().await;
}
