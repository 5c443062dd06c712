//! Proofs of what is counted (QU-1).

use std::time::Duration;

use time::{OffsetDateTime, macros::datetime};

use super::*;
use crate::aggregate::Aggregate;

/// QU-1: the refusal says which quota, its limit and the use.
#[test]
fn the_last_unit_can_be_taken_and_no_more() {
    let quotas = Quotas {
        projects: Some(1),
        ..Quotas::UNLIMITED
    };
    let mut ledger = QuotaLedger::default();
    ledger.evolve(
        &ledger
            .take(&quotas, Quota::Projects, "a".into())
            .expect("one is free"),
    );
    let refused = ledger
        .take(&quotas, Quota::Projects, "b".into())
        .expect_err("used up");
    assert_eq!((refused.limit, refused.used), (1, 1));
    ledger.evolve(&LedgerEvent::Released {
        quota: Quota::Projects,
        item: "a".into(),
    });
    assert!(ledger.take(&quotas, Quota::Projects, "b".into()).is_ok());
}

const TWO_HOURS: Quotas = Quotas {
    gpu_hours: Some(2),
    ..Quotas::UNLIMITED
};

fn taken(month: &str, milliseconds: u64, item: &str) -> LedgerEvent {
    let (month, item) = (month.to_owned(), item.to_owned());
    LedgerEvent::GpuTimeTaken {
        month,
        milliseconds,
        item,
    }
}

fn began(began_at: OffsetDateTime, item: &str) -> LedgerEvent {
    let item = item.to_owned();
    LedgerEvent::GpuTimeBegan { began_at, item }
}

/// QU-1: hours count in their month, and begin anew with the next.
#[test]
fn gpu_hours_are_counted_by_calendar_month() {
    let mut ledger = QuotaLedger::default();
    let now = datetime!(2026-11-30 23:30 UTC);
    for (milliseconds, left) in [(HOUR, 2 * HOUR), (HOUR - 1, HOUR)] {
        let left = Some(Duration::from_millis(left));
        assert_eq!(ledger.gpu_hours_left(&TWO_HOURS, now), Ok(left));
        ledger.evolve(&taken("2026-11", milliseconds, "job_1/1"));
    }
    let left = ledger.gpu_hours_left(&TWO_HOURS, now);
    assert_eq!(left, Ok(Some(Duration::from_millis(1))));
    ledger.evolve(&taken("2026-11", 1_800_001, "job_1/2"));
    let refused = ledger.gpu_hours_left(&TWO_HOURS, now).expect_err("used up");
    assert!(refused.to_string().contains("2.5 of 2"), "{refused}");
    let abroad = datetime!(2026-12-01 00:30 +01:00);
    assert!(ledger.gpu_hours_left(&TWO_HOURS, abroad).is_err(), "UTC counts");
    let next = datetime!(2026-12-01 00:00 UTC);
    let all = Some(Duration::from_millis(2 * HOUR));
    assert_eq!(ledger.gpu_hours_left(&TWO_HOURS, next), Ok(all));
    assert_eq!(ledger.gpu_hours_left(&Quotas::UNLIMITED, now), Ok(None));
}

/// QU-1: what is under way counts, and what runs side by side uses the hours up so much faster.
#[test]
fn attempts_under_way_use_gpu_hours_up() {
    let mut ledger = QuotaLedger::default();
    let now = datetime!(2026-11-22 12:00 UTC);
    ledger.evolve(&began(now - time::Duration::minutes(30), "job_1/1"));
    ledger.evolve(&began(now - time::Duration::minutes(60), "job_2/1"));
    let left = |ledger: &QuotaLedger| ledger.gpu_hours_left(&TWO_HOURS, now);
    assert_eq!(left(&ledger), Ok(Some(Duration::from_secs(15 * 60))));
    let soon = now + time::Duration::minutes(15);
    let used = 2 * HOUR;
    let exceeded = Err(GpuHoursExceeded { limit: 2, used });
    assert_eq!(ledger.gpu_hours_left(&TWO_HOURS, soon), exceeded);
    ledger.evolve(&taken("2026-11", HOUR, "job_2/1"));
    assert_eq!(
        left(&ledger),
        Ok(Some(Duration::from_secs(30 * 60))),
        "counted once"
    );
    let in_december = datetime!(2026-12-01 00:30 UTC);
    assert_eq!(
        ledger.gpu_hours_left(&TWO_HOURS, in_december),
        Ok(Some(Duration::from_secs(90 * 60))),
        "what began in November counts from the first of December on"
    );
}

#[test]
fn time_is_parted_by_months() {
    let from = datetime!(2026-11-30 23:00 UTC);
    let parts = |to| by_month(from, to);
    let in_november = |milliseconds| ("2026-11".to_owned(), milliseconds);
    assert_eq!(parts(from), [in_november(0)], "always one");
    assert_eq!(parts(datetime!(2026-11-30 22:00 UTC)), [in_november(0)], "clocks");
    assert_eq!(parts(datetime!(2026-12-01 00:00 UTC)), [in_november(HOUR)]);
    let december = 31 * 24 * HOUR;
    assert_eq!(
        parts(datetime!(2027-01-01 02:00 +01:00)),
        [
            in_november(HOUR),
            ("2026-12".to_owned(), december),
            ("2027-01".to_owned(), HOUR)
        ]
    );
}
