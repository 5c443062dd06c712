//! What the adapter makes of a server, or a network, that misbehaves.

use std::{sync::Arc, time::Duration};

use domain::event_store::{AppendError, EventStore, Expected, Filter, Position, StoreError};
use event_store::kurrentdb::KurrentEventStore;
use tokio::time::timeout;

use super::{
    super::make::{append, event, several, stream, write},
    open,
    peer::{Fault, Peer},
    settings,
};

const SOON: Duration = Duration::from_secs(60);

async fn one() -> (Peer, Arc<KurrentEventStore>) {
    let peer = Peer::start(1).await;
    let store = open(&peer.url(), settings()).await;
    (peer, store)
}

/// The events of `a` are there once, with one receipt each.
fn once(peer: &Peer, written: &domain::event_store::Append) {
    for write in &written.writes {
        assert_eq!(peer.records_of(write.stream.as_str()), write.events.len());
        for event in &write.events {
            assert_eq!(peer.records_of(&format!(":id-{}", event.id)), 1);
        }
    }
    assert_eq!(peer.left(), 0);
}

/// AU-1: an answer that is lost after the commit is found again by the ids, at the first place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_lost_after_the_commit_is_found_by_the_ids() {
    for expected in [Expected::NoStream, Expected::Any] {
        let (peer, store) = one().await;
        peer.appends([Fault::Refused, Fault::AnswerLost, Fault::Refused]);
        let written = append("a", expected, 3);
        let landed = store.append(written.clone()).await.expect("recorded");
        once(&peer, &written);
        let events = store.load(&stream("a"), 0).await.expect("readable");
        assert_eq!((events[2].position, events[2].at), (landed.position, landed.at));
        assert_eq!(store.append(written).await.expect("known"), landed);
    }
}

/// A call past its deadline may still land; the try after it does not record a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_append_that_lands_after_its_deadline_is_recorded_once() {
    let peer = Peer::start(1).await;
    let mut short = settings();
    short.call_limit = Duration::from_secs(2);
    let store = open(&peer.url(), short).await;
    peer.appends([Fault::Slow(Duration::from_secs(3))]);
    let written = append("a", Expected::NoStream, 2);
    let landed = store.append(written.clone()).await.expect("recorded");
    tokio::time::sleep(Duration::from_secs(2)).await;
    once(&peer, &written);
    assert_eq!(store.append(written).await.expect("known"), landed);
}

/// A server that stays silent: the caller gets an answer within the limits, and nothing blocks afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_with_the_deadline_and_says_that_trying_again_is_safe() {
    let peer = Peer::start(1).await;
    let mut short = settings();
    short.call_limit = Duration::from_secs(2);
    short.append_limit = Duration::from_secs(3);
    let store = open(&peer.url(), short).await;
    peer.appends([Fault::Slow(SOON); 8]);
    let written = append("a", Expected::NoStream, 1);
    match timeout(SOON, store.append(written.clone()))
        .await
        .expect("an answer")
    {
        Err(AppendError::Store(StoreError::Unavailable(why))) => assert!(why.contains("in time"), "{why}"),
        other => panic!("{other:?}"),
    }
    peer.forgive();
    store.append(written).await.expect("recorded");
    peer.reads([Fault::Slow(SOON); 8]);
    match timeout(SOON, store.load(&stream("a"), 0))
        .await
        .expect("an answer")
    {
        Err(StoreError::Unavailable(why)) => assert!(why.contains("within 2 s"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A server whose revisions do not follow is damaged, not right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_does_not_follow_is_damage() {
    let (peer, store) = one().await;
    peer.appends([Fault::WrongRevision]);
    match store.append(append("a", Expected::NoStream, 1)).await {
        Err(AppendError::Store(StoreError::Corrupt(why))) => assert!(why.contains("test.counter-a"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// The cluster is Anneal's own: what another program writes stops the reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_program_is_damage_and_not_skipped() {
    let (peer, store) = one().await;
    peer.write("other-1", "other.Happened", "", "not json");
    for outcome in [
        store
            .read_all(Position::START, &Filter::all(), 10)
            .await
            .map(drop),
        store
            .subscribe(Position::START, Filter::all())
            .next()
            .await
            .map(drop),
    ] {
        match outcome {
            Err(StoreError::Corrupt(why)) => assert!(why.contains("other.Happened"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The server's own records are none of ours, whatever the filter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_the_server_are_passed_over() {
    let (peer, store) = one().await;
    peer.write("$stats-0", "$statsCollected", "", "not json");
    let landed = store
        .append(append("a", Expected::NoStream, 1))
        .await
        .expect("recorded");
    peer.write("$stats-0", "$statsCollected", "", "not json");
    assert_eq!(store.head().await.expect("readable"), landed.position);
    for prefixes in [vec![], vec![String::new()], vec!["test".to_owned()]] {
        let filter = Filter {
            stream_prefixes: prefixes,
            kind_prefixes: vec![],
        };
        let page = store
            .read_all(Position::START, &filter, 10)
            .await
            .expect("readable");
        assert_eq!(page.events.len(), 1, "{filter:?}");
        let mut subscription = store.subscribe(Position::START, filter);
        let mut seen = 0;
        while seen == 0 {
            let page = timeout(SOON, subscription.next()).await.expect("in time");
            seen += page.expect("readable").events.len();
        }
    }
}

/// A page that breaks half-way is read again whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_breaks_half_way_is_read_again() {
    let (peer, store) = one().await;
    store
        .append(append("a", Expected::NoStream, 10))
        .await
        .expect("recorded");
    peer.reads([Fault::BrokenAfter(3), Fault::Refused]);
    let events = store.load(&stream("a"), 0).await.expect("readable");
    assert_eq!(events.len(), 10);
    peer.reads([Fault::BrokenAfter(5)]);
    let page = store
        .read_all(Position::START, &Filter::all(), 100)
        .await
        .expect("readable");
    assert_eq!(page.events.len(), 10);
    // A read that ends too early in order cannot be told from a whole one: it skips nothing, though. A request of
    // before that was given up may take the fault; then it is planned again.
    for _ in 0..20 {
        peer.reads([Fault::EndedAfter(4)]);
        let pages = pages(store.as_ref()).await;
        assert_eq!(pages.iter().sum::<usize>(), 10, "{pages:?}");
        if pages.first() == Some(&4) {
            return;
        }
    }
    panic!("no read met the fault");
}

/// How many events each page has, from the start of the log to its end.
async fn pages(store: &dyn EventStore) -> Vec<usize> {
    let (mut lengths, mut after) = (Vec::new(), Position::START);
    loop {
        let page = store
            .read_all(after, &Filter::all(), 100)
            .await
            .expect("readable");
        if page.next == after {
            return lengths;
        }
        after = page.next;
        lengths.push(page.events.len());
    }
}

/// Subscriptions that break, are refused and end in order: no gap, nothing twice, no spinning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_goes_on_where_it_broke() {
    let (peer, store) = one().await;
    for n in 0..10_u64 {
        let expected = Expected::after((n * 3).checked_sub(1));
        store.append(append("a", expected, 3)).await.expect("recorded");
    }
    peer.follows([
        Fault::BrokenAfter(4),
        Fault::EndedAfter(7),
        Fault::Refused,
        Fault::EndedAfter(0),
        Fault::BrokenAfter(1),
    ]);
    let only = Filter {
        stream_prefixes: vec![stream("a").to_string()],
        kind_prefixes: vec![],
    };
    for filter in [Filter::all(), only] {
        let mut subscription = store.subscribe(Position::START, filter);
        let mut revisions = Vec::new();
        while revisions.len() < 30 {
            let page = timeout(SOON, subscription.next())
                .await
                .expect("in time")
                .expect("readable");
            revisions.extend(page.events.iter().map(|event| event.revision));
        }
        assert_eq!(revisions, (0..30).collect::<Vec<u64>>());
    }
    assert_eq!(peer.left(), 0);
}

/// The leader changes under writers, readers and followers: all go on at the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_leader_is_followed() {
    let peer = Peer::start(3).await;
    let store = open(&peer.url(), settings()).await;
    let mut subscription = store.subscribe(Position::START, Filter::all());
    let writing = async {
        for n in 0..30_u64 {
            if n % 10 == 5 {
                peer.set(|mode| mode.leader = (mode.leader + 1) % 3);
            }
            let next = append("a", Expected::after(n.checked_sub(1)), 1);
            store.append(next).await.expect("recorded");
            assert_eq!(store.load(&stream("a"), n).await.expect("readable").len(), 1);
        }
    };
    let following = async {
        let mut seen = Vec::new();
        while seen.len() < 30 {
            let page = timeout(SOON, subscription.next())
                .await
                .expect("in time")
                .expect("readable");
            seen.extend(page.events.iter().map(|event| event.revision));
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, following);
    assert_eq!(seen, (0..30).collect::<Vec<u64>>());
}

/// A store that is started while another node leads finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_finds_the_leader() {
    let peer = Peer::start(3).await;
    peer.set(|mode| mode.leader = 2);
    let store = open(&peer.url(), settings()).await;
    store
        .append(append("a", Expected::NoStream, 1))
        .await
        .expect("recorded");
}

/// Read-only later on: refused at once, with what to look at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_turns_read_only_refuses_at_once() {
    let (peer, store) = one().await;
    peer.set(|mode| mode.read_only = true);
    match store.append(append("a", Expected::NoStream, 1)).await {
        Err(AppendError::Store(StoreError::Unavailable(why))) => assert!(why.contains("read-only"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// What PostgreSQL takes and KurrentDB does not is refused before it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_the_server_would_mix_up_are_refused() {
    let (_peer, store) = one().await;
    let mut odd_kind = append("a", Expected::Any, 1);
    odd_kind.writes[0].events[0].kind = "test.Not Allowed".to_owned();
    let mut our_kind = append("a", Expected::Any, 1);
    our_kind.writes[0].events[0].kind = ":receipt".to_owned();
    let both_cases = several(vec![
        write("a", Expected::Any, vec![event("1")]),
        write("A", Expected::Any, vec![event("2")]),
    ]);
    for append in [odd_kind, our_kind, both_cases] {
        let outcome = store.append(append).await;
        assert!(matches!(outcome, Err(AppendError::Malformed(_))), "{outcome:?}");
    }
    assert_eq!(store.head().await.expect("readable"), Position::START);
}

/// Full: one more is turned away; closed: everything is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_turns_away_and_a_closed_one_answers() {
    let peer = Peer::start(1).await;
    let mut narrow = settings();
    narrow.queue_appends = 2;
    let store = open(&peer.url(), narrow).await;
    peer.appends([Fault::Slow(Duration::from_secs(2)); 2]);
    let first = store.append(append("a", Expected::NoStream, 1));
    let second = store.append(append("b", Expected::NoStream, 1));
    let third = async {
        while peer.left() > 0 {
            tokio::task::yield_now().await;
        }
        store.append(append("c", Expected::NoStream, 1)).await
    };
    let (first, second, third) = tokio::join!(first, second, third);
    assert!(first.is_ok() && second.is_ok());
    assert!(matches!(third, Err(AppendError::Overloaded)), "{third:?}");

    let mut waiting = store.subscribe(store.known_head(), Filter::all());
    let (page, closed) = tokio::join!(waiting.next(), store.close(SOON));
    assert!(closed && store.close(SOON).await);
    assert!(matches!(page, Err(StoreError::Unavailable(_))), "{page:?}");
    let late = store.append(append("d", Expected::NoStream, 1)).await;
    assert!(matches!(late, Err(AppendError::Store(_))), "{late:?}");
}
