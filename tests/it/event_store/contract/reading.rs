//! What every adapter promises to readers and followers.

use std::{collections::HashMap, time::Duration};

use domain::event_store::{Expected, Filter, Position, RecordedEvent, StoreError, Subscription};
use futures::future::join_all;
use tokio::time::timeout;

use super::{
    super::{
        Stores,
        make::{append, stream},
    },
    everything,
};

const SOON: Duration = Duration::from_secs(60);

async fn follow(subscription: &mut dyn Subscription, until: usize) -> Vec<RecordedEvent> {
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

pub(crate) async fn reading_resumes_at_any_position(stores: &Stores) {
    for n in 0..12 {
        stores
            .first
            .append(append(&n.to_string(), Expected::NoStream, 2))
            .await
            .expect("recorded");
    }
    let all = everything(&*stores.first).await;
    let ids: Vec<_> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 24);
    for (index, event) in all.iter().enumerate() {
        let page = stores
            .first
            .read_all(event.position, &Filter::all(), 5)
            .await
            .expect("readable");
        let rest: Vec<_> = page.events.iter().map(|event| event.id).collect();
        assert_eq!(rest, ids[index + 1..ids.len().min(index + 6)]);
        let mut subscription = stores.second.subscribe(event.position, Filter::all());
        if index + 1 < ids.len() {
            assert_eq!(follow(&mut *subscription, 1).await[0].id, ids[index + 1]);
        }
    }
    let mut beyond = stores.first.subscribe(Position(1_000), Filter::all());
    match timeout(SOON, beyond.next()).await.expect("an answer") {
        Err(StoreError::Corrupt(why)) => assert!(why.contains("1000"), "{why}"),
        other => panic!("{other:?}"),
    }
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

pub(crate) async fn a_dropped_wait_loses_nothing(stores: &Stores) {
    let mut subscription = stores.first.subscribe(Position::START, Filter::all());
    let writing = async {
        for n in 0..60 {
            stores
                .second
                .append(append("a", Expected::after(u64::checked_sub(n, 1)), 1))
                .await
                .expect("recorded");
        }
    };
    let following = async {
        let mut revisions = Vec::new();
        while revisions.len() < 60 {
            // Now and then in the middle of a read, now and then in a wait.
            let impatience = Duration::from_micros(200 + 400 * (revisions.len() as u64 % 7));
            match timeout(impatience, subscription.next()).await {
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                Ok(page) => {
                    revisions.extend(page.expect("readable").events.iter().map(|event| event.revision));
                }
            }
        }
        revisions
    };
    let (_, revisions) = timeout(SOON, async { tokio::join!(writing, following) })
        .await
        .expect("in time");
    assert_eq!(revisions, (0..60).collect::<Vec<u64>>());
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
