//! What every adapter promises to readers that go on where they stopped, with and without a filter.

use std::time::Duration;

use domain::event_store::{EventStore, Expected, Filter, Position, RecordedEvent, StoreError};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    super::{
        Stores,
        make::{append, stream},
    },
    everything,
    reading::{SOON, follow},
};

fn ids(events: &[RecordedEvent]) -> Vec<Uuid> {
    events.iter().map(|event| event.id).collect()
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
}

/// A reader from another log, or from one that was cut: never silently at the end of this one.
pub(crate) async fn a_place_that_the_log_has_not_reached_is_refused(stores: &Stores) {
    let landed = stores.first.append(append("a", Expected::NoStream, 3)).await;
    let head = landed.expect("recorded").position;
    let beyond = Position(head.0 + 1_000);
    for store in [&stores.first, &stores.second] {
        let mut lost = store.subscribe(beyond, Filter::all());
        match timeout(SOON, lost.next()).await.expect("an answer") {
            Err(StoreError::Corrupt(why)) => assert!(why.contains(&beyond.to_string()), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Every fifth event passes: `(a stream of others, the one that passes)`.
async fn sparse(store: &dyn EventStore) -> Filter {
    for n in 0..60_u64 {
        let (key, revision) = if n % 5 == 3 {
            ("wanted", n / 5)
        } else {
            ("other", n - (n + 1) / 5)
        };
        let expected = Expected::after(revision.checked_sub(1));
        store.append(append(key, expected, 1)).await.expect("recorded");
    }
    Filter {
        stream_prefixes: vec![stream("want").to_string()],
        kind_prefixes: vec!["test.".to_owned()],
    }
}

/// Reads to the end in pages of `limit` and checks each page.
async fn read_on(store: &dyn EventStore, mut after: Position, filter: &Filter, limit: usize) -> Vec<Uuid> {
    let head = store.head().await.expect("readable");
    let mut seen = Vec::new();
    while after < head {
        let page = store.read_all(after, filter, limit).await.expect("readable");
        assert!(page.next > after, "a page without progress at {after}");
        assert!(page.events.len() <= limit);
        for event in &page.events {
            assert!(filter.matches(event));
            assert!(after < event.position && event.position <= page.next);
        }
        after = page.next;
        seen.extend(ids(&page.events));
    }
    assert_eq!(after, head);
    let at_the_end = store.read_all(after, filter, limit).await.expect("readable");
    assert!(at_the_end.events.is_empty() && at_the_end.next == after);
    seen
}

/// A filter that lets little or nothing pass still brings its reader to the head, page by page.
pub(crate) async fn a_filtered_reader_moves_on_where_nothing_passes(stores: &Stores) {
    let filter = sparse(&*stores.first).await;
    let all = everything(&*stores.second).await;
    let wanted: Vec<_> = all.iter().filter(|event| filter.matches(event)).collect();
    assert_eq!(wanted.len(), 12);
    for limit in [1, 4, 7, 100] {
        let seen = read_on(&*stores.second, Position::START, &filter, limit).await;
        assert_eq!(seen, wanted.iter().map(|event| event.id).collect::<Vec<_>>());
    }
    let nothing = Filter {
        stream_prefixes: vec!["elsewhere-".to_owned()],
        kind_prefixes: Vec::new(),
    };
    assert!(
        read_on(&*stores.first, Position::START, &nothing, 7)
            .await
            .is_empty()
    );
    let mut idle = stores.first.subscribe(Position::START, nothing);
    let (mut reached, head) = (Position::START, all[all.len() - 1].position);
    while reached < head {
        let page = timeout(SOON, idle.next())
            .await
            .expect("a moved position")
            .expect("readable");
        assert!(page.events.is_empty() && page.next > reached);
        reached = page.next;
    }
}

/// From each position of the log, also from those of events that the filter keeps back.
pub(crate) async fn filtered_reading_resumes_at_any_position(stores: &Stores) {
    let filter = sparse(&*stores.first).await;
    let all = everything(&*stores.first).await;
    for (index, event) in all.iter().enumerate() {
        let rest: Vec<_> = all[index + 1..]
            .iter()
            .filter(|event| filter.matches(event))
            .map(|event| event.id)
            .collect();
        assert_eq!(
            read_on(&*stores.first, event.position, &filter, 9).await,
            rest,
            "read after {}",
            event.position
        );
        let mut subscription = stores.second.subscribe(event.position, filter.clone());
        let followed = follow(&mut *subscription, rest.len()).await;
        assert_eq!(ids(&followed), rest, "followed after {}", event.position);
    }
}

/// Who starts at the head gets nothing of the past, and everything from then on.
pub(crate) async fn a_subscription_at_the_head_gets_only_what_comes(stores: &Stores) {
    stores
        .first
        .append(append("a", Expected::NoStream, 5))
        .await
        .expect("recorded");
    let head = stores.second.head().await.expect("readable");
    let mut subscription = stores.second.subscribe(head, Filter::all());
    let following = async { follow(&mut *subscription, 4).await };
    let writing = async {
        for revision in 4..8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let next = append("a", Expected::Exact(revision), 1);
            stores.first.append(next).await.expect("recorded");
        }
    };
    let (followed, ()) = tokio::join!(following, writing);
    let revisions: Vec<_> = followed.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [5, 6, 7, 8]);
}
