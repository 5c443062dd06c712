//! What every adapter promises, as the port (`domain::event_store`) says it: first about writing.

mod dropping;
mod last_event;
mod limits;
mod reading;
mod resuming;

use domain::event_store::{AppendError, EventStore, Expected, Filter, Position, RecordedEvent};
use futures::future::join_all;

use super::{
    Stores,
    make::{append, event, several, stream, write},
};

pub(crate) use dropping::{
    a_dropped_append_lands_once_or_not_at_all_and_can_be_asked_again, a_dropped_wait_loses_nothing,
    readers_that_give_up_disturb_nobody,
};
pub(crate) use last_event::{
    a_chain_of_appends_lands_whole_or_up_to_where_it_breaks,
    an_append_behind_a_certain_event_lands_behind_no_other,
};
pub(crate) use limits::{
    appends_beyond_the_limits_are_refused_and_leave_no_trace, the_largest_appends_come_back_whole,
};
pub(crate) use reading::{
    every_way_of_reading_shows_the_same_events, filters_pass_prefixes_only_and_take_no_wildcards,
    many_streams_load_as_each_of_them_does_alone,
    subscribers_see_every_event_once_and_in_order_under_32_writers_in_2_stores,
    the_known_head_is_never_behind_own_appends,
};
pub(crate) use resuming::{
    a_filtered_reader_moves_on_where_nothing_passes, a_place_that_the_log_has_not_reached_is_refused,
    a_subscription_at_the_head_gets_only_what_comes, filtered_reading_resumes_at_any_position,
    reading_resumes_at_any_position,
};

async fn everything(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let (mut all, mut after) = (Vec::new(), Position::START);
    loop {
        let page = store
            .read_all(after, &Filter::all(), 1_000)
            .await
            .expect("the log is readable");
        if page.next == after {
            return all;
        }
        after = page.next;
        all.extend(page.events);
    }
}

pub(crate) async fn revisions_start_at_zero_and_positions_ascend(stores: &Stores) {
    let store = &stores.first;
    let first = store
        .append(append("a", Expected::NoStream, 3))
        .await
        .expect("recorded");
    let second = stores
        .second
        .append(append("b", Expected::NoStream, 1))
        .await
        .expect("recorded");
    let third = store
        .append(append("a", Expected::Exact(2), 2))
        .await
        .expect("recorded");
    assert!(first.position < second.position && second.position < third.position);
    assert!(first.at <= second.at && second.at <= third.at);

    let events = store.load(&stream("a"), 0).await.expect("readable");
    assert_eq!(
        events.iter().map(|event| event.revision).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(events[4].position, third.position);
    assert_eq!(events[4].at, third.at);
    assert_eq!(events[0].meta.actor, "user:1");
    let later = store.load(&stream("a"), 3).await.expect("readable");
    assert_eq!(
        later.iter().map(|event| event.revision).collect::<Vec<_>>(),
        [3, 4]
    );
    assert!(store.load(&stream("none"), 0).await.expect("readable").is_empty());
    assert!(
        store
            .load(&stream("a"), u64::MAX)
            .await
            .expect("readable")
            .is_empty()
    );
}

pub(crate) async fn a_wrong_expectation_is_a_conflict_that_records_nothing(stores: &Stores) {
    stores
        .first
        .append(append("a", Expected::Any, 2))
        .await
        .expect("recorded");
    for (expected, key, stands_at) in [
        (Expected::NoStream, "a", Some(1)),
        (Expected::Exact(0), "a", Some(1)),
        (Expected::Exact(2), "a", Some(1)),
        (Expected::Exact(0), "b", None),
    ] {
        for store in [&stores.first, &stores.second] {
            match store.append(append(key, expected, 1)).await {
                Err(AppendError::Conflict {
                    stream: found,
                    actual,
                }) => {
                    assert_eq!((found, actual), (stream(key), stands_at));
                }
                other => panic!("{expected:?} on {key}: {other:?}"),
            }
        }
    }
    assert_eq!(everything(&*stores.first).await.len(), 2);
}

/// ID-2, QU-1: uniqueness and quotas are reservations at an exact revision.
pub(crate) async fn one_of_many_racing_reservations_wins(stores: &Stores) {
    let tries = (0..40).map(|n| {
        let store = if n % 2 == 0 { &stores.first } else { &stores.second };
        store.append(append("mail", Expected::NoStream, 1))
    });
    let outcomes = join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let lost =
        |outcome: &&Result<_, _>| matches!(outcome, Err(AppendError::Conflict { actual: Some(0), .. }));
    assert_eq!(outcomes.iter().filter(lost).count(), 39);
}

pub(crate) async fn the_same_append_again_answers_with_the_first_result(stores: &Stores) {
    for expected in [Expected::NoStream, Expected::Any] {
        let key = format!("{expected:?}");
        let mut both = append(&key, expected, 2);
        both.writes
            .push(write(&format!("{key}-other"), expected, vec![event("{}")]));
        let first = stores.first.append(both.clone()).await.expect("recorded");
        stores
            .first
            .append(append(&key, Expected::Exact(1), 1))
            .await
            .expect("recorded");
        for store in [&stores.first, &stores.second] {
            assert_eq!(store.append(both.clone()).await.expect("known"), first);
        }
    }
    assert_eq!(everything(&*stores.first).await.len(), 8);
}

pub(crate) async fn the_same_append_at_the_same_time_is_recorded_once(stores: &Stores) {
    for expected in [Expected::NoStream, Expected::Any] {
        let same = append(&format!("{expected:?}"), expected, 2);
        let tries = (0..20).map(|n| {
            let store = if n % 2 == 0 { &stores.first } else { &stores.second };
            store.append(same.clone())
        });
        let answers: Vec<_> = join_all(tries)
            .await
            .into_iter()
            .map(|one| one.expect("recorded"))
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(everything(&*stores.first).await.len(), 4);
}

pub(crate) async fn an_id_with_other_content_is_refused(stores: &Stores) {
    let original = append("a", Expected::NoStream, 2);
    stores.first.append(original.clone()).await.expect("recorded");
    let taken = original.writes[0].events[0].id;

    let mut other_data = original.clone();
    other_data.writes[0].events[0].data = event("[1]").data;
    let mut other_kind = original.clone();
    other_kind.writes[0].events[0].kind.push('x');
    let mut other_version = original.clone();
    other_version.writes[0].events[0].schema_version = 2;
    let mut other_stream = original.clone();
    other_stream.writes[0].stream = stream("b");
    let mut with_a_new_event = original.clone();
    with_a_new_event.writes[0].events.push(event("{}"));
    with_a_new_event.writes[0].events.remove(1);
    for changed in [
        other_data,
        other_kind,
        other_version,
        other_stream,
        with_a_new_event,
    ] {
        for expected in [Expected::NoStream, Expected::Any] {
            for store in [&stores.first, &stores.second] {
                let mut changed = changed.clone();
                changed.writes[0].expected = expected;
                match store.append(changed).await {
                    Err(AppendError::IdReused { id }) => assert_eq!(id, taken),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(everything(&*stores.first).await.len(), 2);
}

pub(crate) async fn an_append_lands_on_all_its_streams_or_on_none(stores: &Stores) {
    let store = &stores.first;
    store
        .append(append("role", Expected::NoStream, 1))
        .await
        .expect("recorded");
    let both = |checked| {
        several(vec![
            write("role", checked, vec![]),
            write("user", Expected::NoStream, vec![event("{}"), event("{}")]),
            write("mail", Expected::NoStream, vec![event("{}")]),
        ])
    };
    match store.append(both(Expected::Exact(7))).await {
        Err(AppendError::Conflict {
            stream: found,
            actual: Some(0),
        }) => assert_eq!(found, stream("role")),
        other => panic!("{other:?}"),
    }
    assert!(store.load(&stream("user"), 0).await.expect("readable").is_empty());
    let landed = store.append(both(Expected::Exact(0))).await.expect("recorded");
    assert_eq!(store.load(&stream("user"), 0).await.expect("readable").len(), 2);
    assert_eq!(
        store.load(&stream("mail"), 0).await.expect("readable")[0].position,
        landed.position
    );
    assert_eq!(store.load(&stream("role"), 0).await.expect("readable").len(), 1);
    match store.append(both(Expected::Exact(0))).await {
        Err(AppendError::Conflict {
            stream: found,
            actual: Some(1),
        }) => assert_eq!(found, stream("user")),
        other => panic!("{other:?}"),
    }
    assert_eq!(everything(&**store).await.len(), 4);
}

/// Two writers that name the same streams in other orders neither wait for each other for ever nor mix.
pub(crate) async fn appends_that_cross_over_the_same_streams_all_land_whole(stores: &Stores) {
    const ROUNDS: u64 = 20;
    let crossing = (0..ROUNDS).flat_map(|_| {
        [
            (&stores.first, ["a", "b", "c"]),
            (&stores.second, ["c", "b", "a"]),
        ]
    });
    let landed = join_all(crossing.map(|(store, keys)| {
        let writes = keys.map(|key| write(key, Expected::Any, vec![event("{}"), event("{}")]));
        store.append(several(writes.into()))
    }))
    .await;
    let mut ends: Vec<_> = landed
        .into_iter()
        .map(|one| one.expect("recorded").position)
        .collect();
    ends.sort_unstable();
    let all = everything(&*stores.first).await;
    assert_eq!(all.len() as u64, ROUNDS * 12);
    // Between the end of one append and the end of the next lie its own six events: nothing is interleaved.
    for (share, end) in all.chunks(6).zip(ends) {
        assert_eq!(share[5].position, end);
        let pairs: Vec<_> = share.chunks(2).map(|pair| pair[0].stream.clone()).collect();
        assert!(
            pairs == ["a", "b", "c"].map(stream) || pairs == ["c", "b", "a"].map(stream),
            "{pairs:?}"
        );
    }
    for key in ["a", "b", "c"] {
        let events = stores.second.load(&stream(key), 0).await.expect("readable");
        let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (0..ROUNDS * 4).collect::<Vec<_>>());
    }
}

pub(crate) async fn malformed_appends_are_refused(stores: &Stores) {
    let twice = event("{}");
    let mut version_zero = event("{}");
    version_zero.schema_version = 0;
    let malformed = [
        several(vec![]),
        several(vec![write("a", Expected::Any, vec![])]),
        several(vec![
            write("a", Expected::Any, vec![event("1")]),
            write("a", Expected::Any, vec![event("2")]),
        ]),
        several(vec![write("a", Expected::Any, vec![twice.clone(), twice])]),
        several(vec![write("a", Expected::Any, vec![version_zero])]),
        several(vec![write("nul\0", Expected::Any, vec![event("1")])]),
        several(vec![write(&"x".repeat(5_000), Expected::Any, vec![event("1")])]),
        several(vec![write(
            "a",
            Expected::Any,
            vec![event(&format!("\"{}\"", "x".repeat(1 << 20)))],
        )]),
        append("a", Expected::Any, 1_001),
    ];
    for append in malformed {
        match stores.first.append(append).await {
            Err(AppendError::Malformed(why)) => assert!(!why.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stores.first.head().await.expect("readable"), Position::START);
    stores
        .first
        .append(append("a", Expected::Any, 1_000))
        .await
        .expect("as many as allowed");
}

pub(crate) async fn the_bytes_of_the_payload_come_back_as_they_went_in(stores: &Stores) {
    let large = format!(r#"{{"text":"{}"}}"#, "ä".repeat(450 * 1_024));
    let payloads = [
        r#"{"b":1,  "a" :2, "b":3}"#,
        "[1e400, 1.000, -0, 12345678901234567890123]",
        r#""\u0000 \ud800 \u00e4 ä 🦀""#,
        "null",
        "\n {\t} ",
        large.as_str(),
    ];
    let events: Vec<_> = payloads.iter().map(|payload| event(payload)).collect();
    let stored: Vec<_> = events.iter().map(|event| event.data.get().to_owned()).collect();
    stores
        .first
        .append(several(vec![write("a", Expected::NoStream, events)]))
        .await
        .expect("recorded");
    let loaded = stores.first.load(&stream("a"), 0).await.expect("readable");
    assert_eq!(
        loaded
            .iter()
            .map(|event| event.data.get().to_owned())
            .collect::<Vec<_>>(),
        stored
    );
    let read = everything(&*stores.second).await;
    assert_eq!(
        read.iter()
            .map(|event| event.data.get().to_owned())
            .collect::<Vec<_>>(),
        stored
    );
}
