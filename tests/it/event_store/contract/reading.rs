//! What every adapter promises to readers and followers.

use std::{collections::HashMap, time::Duration};

use domain::event_store::{Expected, Filter, Metadata, Position, RecordedEvent, Subscription};
use futures::future::join_all;
use tokio::time::timeout;

use super::{
    super::{
        Stores,
        make::{append, event, several, stream, write},
    },
    everything,
};

/// Longer than anything takes on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// The next events, at least `until` of them.
pub(super) async fn follow(subscription: &mut dyn Subscription, until: usize) -> Vec<RecordedEvent> {
    let mut seen = Vec::new();
    while seen.len() < until {
        let page = timeout(SOON, subscription.next())
            .await
            .expect("events arrive")
            .expect("the log is readable");
        seen.extend(page.events);
    }
    seen
}

pub(crate) async fn many_streams_load_as_each_of_them_does_alone(stores: &Stores) {
    for (key, count) in [("long", 700), ("short", 3), ("other", 5)] {
        stores
            .second
            .append(append(key, Expected::NoStream, count))
            .await
            .expect("recorded");
    }
    let wanted = [
        (stream("short"), 1),
        (stream("none"), 0),
        (stream("long"), 0),
        (stream("other"), 5),
        (stream("long"), 690),
        (stream("other"), u64::MAX),
    ];
    let store = &stores.first;
    let together = store.load_many(&wanted).await.expect("readable");
    let lengths: Vec<_> = together.iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 0, 700, 0, 10, 0]);
    for ((stream, from), history) in wanted.iter().zip(&together) {
        let alone = store.load(stream, *from).await.expect("readable");
        let place = |event: &RecordedEvent| (event.position, event.revision, event.stream.clone());
        assert!(
            alone.iter().map(place).eq(history.iter().map(place)),
            "{stream} from {from}"
        );
    }
    assert!(store.load_many(&[]).await.expect("readable").is_empty());
}

pub(crate) async fn filters_pass_prefixes_only_and_take_no_wildcards(stores: &Stores) {
    let store = &stores.first;
    for key in ["alpha", "beta", "a%", "a_", "Alpha"] {
        store
            .append(append(key, Expected::NoStream, 1))
            .await
            .expect("recorded");
    }
    let mut renamed = append("alpha", Expected::Exact(0), 1);
    renamed.writes[0].events[0].kind = "test.Renamed".to_owned();
    let last = store.append(renamed).await.expect("recorded").position;
    let filter = |streams: &[&str], kinds: &[&str]| Filter {
        stream_prefixes: streams.iter().map(|key| stream(key).to_string()).collect(),
        kind_prefixes: kinds.iter().map(|&kind| kind.to_owned()).collect(),
    };
    for (filter, expected) in [
        (Filter::all(), 6),
        (filter(&["alpha"], &[]), 2),
        (filter(&["a"], &[]), 4),
        (filter(&["a%"], &[]), 1),
        (filter(&["a_"], &[]), 1),
        (filter(&["%"], &[]), 0),
        (filter(&["alpha", "beta"], &["test.C"]), 2),
        (filter(&[], &["test.Renamed", "none"]), 1),
        (filter(&["beta"], &["test.Renamed"]), 0),
    ] {
        let page = store
            .read_all(Position::START, &filter, 100)
            .await
            .expect("readable");
        assert_eq!(page.events.len(), expected, "{filter:?}");
        assert!(page.events.iter().all(|event| filter.matches(event)));
        assert_eq!(page.next, last);
    }
    let mut alone = store.subscribe(Position::START, filter(&[], &["test.Renamed"]));
    assert_eq!(follow(&mut *alone, 1).await[0].position, last);
}

pub(crate) async fn subscribers_see_every_event_once_and_in_order_under_32_writers_in_2_stores(
    stores: &Stores,
) {
    const WRITERS: usize = 32;
    const APPENDS: usize = 25;
    let stores_of = |n: usize| {
        if n.is_multiple_of(2) {
            &stores.first
        } else {
            &stores.second
        }
    };
    let writers = (0..WRITERS).map(|writer| async move {
        for n in 0..APPENDS {
            let expected = Expected::after((n as u64 * 2).checked_sub(1));
            let both = append(&writer.to_string(), expected, 2);
            stores_of(writer).append(both).await.expect("recorded");
        }
    });
    let total = WRITERS * APPENDS * 2;
    let mut near = stores.first.subscribe(Position::START, Filter::all());
    let mut far = stores.second.subscribe(Position::START, Filter::all());
    let (_, near, far) = tokio::join!(
        join_all(writers),
        follow(&mut *near, total),
        follow(&mut *far, total)
    );
    for seen in [near, far] {
        assert_eq!(seen.len(), total);
        assert!(
            seen.windows(2)
                .all(|pair| pair[0].position < pair[1].position && pair[0].at <= pair[1].at)
        );
        let mut next: HashMap<_, u64> = HashMap::new();
        for event in seen {
            let revision = next.entry(event.stream).or_default();
            assert_eq!(event.revision, *revision);
            *revision += 1;
        }
        assert_eq!(next.len(), WRITERS);
    }
}

pub(crate) async fn the_known_head_is_never_behind_own_appends(stores: &Stores) {
    for n in 0..20 {
        let landed = stores
            .first
            .append(append(&n.to_string(), Expected::NoStream, 1))
            .await
            .expect("recorded");
        assert!(stores.first.known_head() >= landed.position);
        assert!(stores.second.head().await.expect("readable") >= landed.position);
        assert!(stores.second.known_head() >= landed.position);
    }
}

/// `load`, `read_all` and `subscribe` tell the same of an event, and all that was sent.
pub(crate) async fn every_way_of_reading_shows_the_same_events(stores: &Stores) {
    let told = |event: &RecordedEvent| {
        let RecordedEvent {
            id,
            stream,
            revision,
            position,
            kind,
            schema_version,
            at,
            data,
            meta,
        } = event.clone();
        (
            (id, stream, revision, position, kind),
            (schema_version, at, data.get().to_owned(), meta),
        )
    };
    let mut sent = several(vec![
        write(
            "ключ-ä 🦀%_",
            Expected::NoStream,
            vec![event(r#"{"n":1}"#), event("[2]")],
        ),
        write("plain", Expected::Any, vec![event("3")]),
    ]);
    sent.writes[0].events[1].kind = "test.Ünicode".to_owned();
    sent.writes[1].events[0].schema_version = 7;
    let id = sent.writes[0].events[0].id;
    sent.meta = Metadata {
        actor: "user:usr_1".to_owned(),
        on_behalf_of: Some("user:usr_2".to_owned()),
        organization: Some("org_1".to_owned()),
        session: Some("ses_1".to_owned()),
        request_id: Some("r-1".to_owned()),
        correlation_id: Some(id),
        causation_id: Some(id),
        address: Some("::1".to_owned()),
        user_agent: Some("\"quoted\"; ä".to_owned()),
    };
    let landed = stores.first.append(sent.clone()).await.expect("recorded");
    let mut loaded = Vec::new();
    for write in &sent.writes {
        let events = stores.second.load(&write.stream, 0).await.expect("readable");
        assert_eq!(events.len(), write.events.len());
        for (revision, (event, new)) in (0..).zip(events.iter().zip(&write.events)) {
            assert_eq!((event.id, &event.kind), (new.id, &new.kind));
            assert_eq!(event.schema_version, new.schema_version);
            assert_eq!((&event.stream, event.revision), (&write.stream, revision));
            assert_eq!((event.at, &event.meta), (landed.at, &sent.meta));
            assert_eq!(event.data.get(), new.data.get());
        }
        loaded.extend(events);
    }
    let loaded: Vec<_> = loaded.iter().map(told).collect();
    let read: Vec<_> = everything(&*stores.first).await.iter().map(told).collect();
    assert_eq!(read, loaded);
    let mut subscription = stores.second.subscribe(Position::START, Filter::all());
    let followed = follow(&mut *subscription, 3).await;
    assert_eq!(followed.iter().map(told).collect::<Vec<_>>(), loaded);
}
