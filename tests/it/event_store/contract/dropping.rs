//! What every adapter promises to callers that give up: a dropped future costs nobody anything.

use std::time::Duration;

use domain::event_store::{Expected, Filter, Position};
use futures::future::join_all;
use tokio::time::timeout;

use super::{
    super::{
        Stores,
        make::{append, stream},
    },
    everything,
    reading::SOON,
};

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

/// A caller that gave up does not know whether its append was recorded. Asking again tells, and doubles nothing.
pub(crate) async fn a_dropped_append_lands_once_or_not_at_all_and_can_be_asked_again(stores: &Stores) {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 12;
    let writers = (0..WRITERS).map(|writer| async move {
        let store = if writer % 2 == 0 {
            &stores.first
        } else {
            &stores.second
        };
        for n in 0..APPENDS {
            let next = append(&writer.to_string(), Expected::after((n * 2).checked_sub(1)), 2);
            // From "not even begun" to "most likely answered".
            let limit = Duration::from_micros(150 * ((n * 7 + writer * 3) % 20));
            if let Ok(answer) = timeout(limit, store.append(next.clone())).await {
                answer.expect("recorded");
            }
            let first = store.append(next.clone()).await.expect("recorded or known");
            assert_eq!(store.append(next).await.expect("known"), first);
        }
    });
    timeout(SOON, join_all(writers)).await.expect("in time");
    let all = everything(&*stores.first).await;
    assert_eq!(all.len() as u64, WRITERS * APPENDS * 2);
    for writer in 0..WRITERS {
        let events = stores
            .second
            .load(&stream(&writer.to_string()), 0)
            .await
            .expect("readable");
        let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (0..APPENDS * 2).collect::<Vec<_>>());
    }
}

/// Loads, pages, heads and subscriptions that are dropped half-way take nothing from those who stay.
pub(crate) async fn readers_that_give_up_disturb_nobody(stores: &Stores) {
    stores
        .first
        .append(append("a", Expected::NoStream, 200))
        .await
        .expect("recorded");
    let (store, wanted, all) = (&stores.second, stream("a"), Filter::all());
    for n in 0..120_u64 {
        let limit = Duration::from_micros(40 * (n % 25));
        let mut abandoned = store.subscribe(Position::START, Filter::all());
        let impatient = async {
            drop(timeout(limit, store.load(&wanted, n)).await);
            drop(timeout(limit, store.read_all(Position::START, &all, 1 + n as usize)).await);
            drop(timeout(limit, store.head()).await);
            drop(timeout(limit, abandoned.next()).await);
        };
        timeout(SOON, impatient).await.expect("each gives up by itself");
    }
    let loaded = timeout(SOON, store.load(&wanted, 0)).await.expect("an answer");
    assert_eq!(loaded.expect("readable").len(), 200);
    assert_eq!(
        timeout(SOON, everything(&**store))
            .await
            .expect("an answer")
            .len(),
        200
    );
}
