//! The bounds of what refusals and repeated reads write.

use time::{Duration, OffsetDateTime};

use super::{ACTORS, BoundedRecording, Count, Kind, WINDOW};

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn records(bounds: &BoundedRecording, actor: &str, matter: &str, now: OffsetDateTime) -> bool {
    let claimed = bounds.claim(Kind::Denial, actor, matter, now);
    claimed.map(super::Claimed::done).is_some()
}

fn counted(bounds: &BoundedRecording, now: OffsetDateTime) -> u64 {
    bounds
        .over(now, true)
        .iter()
        .map(|left_out| left_out.count.count)
        .sum()
}

#[test]
fn one_of_each_matter_and_hour_is_recorded_and_the_others_are_counted() {
    let bounds = BoundedRecording::default();
    assert!(records(&bounds, "ada", "a", START));
    for _ in 0..5 {
        assert!(!records(&bounds, "ada", "a", START + Duration::MINUTE));
    }
    assert!(records(&bounds, "ada", "b", START) && records(&bounds, "bob", "a", START));
    let next = bounds
        .claim(Kind::Denial, "ada", "a", START + WINDOW)
        .expect("a new hour");
    let at = START + Duration::MINUTE;
    let count = Count {
        count: 5,
        since: at,
        until: at,
    };
    assert_eq!(next.before(), Some(count));
    next.done();
    assert_eq!(counted(&bounds, START + WINDOW), 0, "told once");
}

#[test]
fn ever_new_matters_are_bounded_per_actor_and_none_is_lost() {
    let bounds = BoundedRecording::default();
    let recorded = (0..10_000)
        .filter(|n| records(&bounds, "ada", &n.to_string(), START))
        .count();
    assert_eq!(recorded, Kind::Denial.most() as usize);
    assert!(
        records(&bounds, "bob", "1", START),
        "another actor has an own share"
    );
    assert!(
        bounds.over(START + Duration::MINUTE, false).is_empty(),
        "the hour is not over"
    );
    let told = bounds.over(START + WINDOW, false);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].count.count + recorded as u64, 10_000);
    assert!(bounds.table().rows.is_empty(), "whose hour is over is forgotten");
}

#[test]
fn ever_new_actors_share_one_row_and_none_is_lost() {
    let bounds = BoundedRecording::default();
    let actors = ACTORS + 1_000;
    let recorded = (0..actors)
        .filter(|n| records(&bounds, &n.to_string(), "x", START))
        .count();
    assert!(recorded <= ACTORS + 60, "{recorded}");
    assert!(bounds.table().rows.len() <= ACTORS + 1);
    assert_eq!(recorded as u64 + counted(&bounds, START), actors as u64);
}

#[test]
fn what_could_not_be_recorded_is_counted() {
    let bounds = BoundedRecording::default();
    assert!(records(&bounds, "ada", "a", START));
    assert!(!records(&bounds, "ada", "a", START));
    let later = START + WINDOW;
    drop(bounds.claim(Kind::Denial, "ada", "a", later).expect("a new hour"));
    let told = bounds.over(later, true);
    assert_eq!(told[0].count.count, 2);
    bounds.put_back(&told[0], later);
    assert_eq!(counted(&bounds, later), 2);
}

#[test]
fn a_read_is_known_only_once_it_is_on_record() {
    let bounds = BoundedRecording::default();
    assert!(!bounds.is_recorded("ada", "job_1", START));
    assert!(
        !bounds.is_recorded("ada", "job_1", START),
        "asking records nothing"
    );
    bounds.recorded("ada", "job_1", START);
    assert!(bounds.is_recorded("ada", "job_1", START + Duration::MINUTE));
    assert!(!bounds.is_recorded("ada", "job_2", START) && !bounds.is_recorded("bob", "job_1", START));
    assert!(
        !bounds.is_recorded("ada", "job_1", START + WINDOW),
        "an hour later it is a new one"
    );
    bounds.recorded("ada", "job_1", START + WINDOW);
    let told = bounds.over(START + WINDOW, false);
    assert!(told.is_empty(), "the minute is not an hour old: {told:?}");
    let told = bounds.over(START + WINDOW + Duration::MINUTE, false);
    assert_eq!((told[0].kind, told[0].count.count), (Kind::Read, 1));
}

#[test]
fn a_clock_that_was_set_back_silences_nobody() {
    let bounds = BoundedRecording::default();
    assert!(records(&bounds, "ada", "a", START + Duration::DAY));
    assert!(records(&bounds, "ada", "a", START));
    bounds.recorded("ada", "x", START + Duration::DAY);
    assert!(!bounds.is_recorded("ada", "x", START));
}

#[test]
fn reads_beyond_what_is_remembered_are_recorded_again() {
    let bounds = BoundedRecording::default();
    for n in 0..=super::READS {
        bounds.recorded("ada", &n.to_string(), START);
    }
    assert!(bounds.is_recorded("ada", "0", START));
    assert!(!bounds.is_recorded("ada", &super::READS.to_string(), START));
    assert_eq!(bounds.table().reads, super::READS);
    drop(bounds.over(START + WINDOW, false));
    assert_eq!(bounds.table().reads, 0);
}
