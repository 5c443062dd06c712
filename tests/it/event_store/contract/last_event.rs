//! What every adapter promises of [`Expected::At`]: it holds at the end of its stream, behind that very event only.

use domain::event_store::{AppendError, EventStore, Expected};
use futures::future::join_all;
use uuid::Uuid;

use super::super::{
    Stores,
    make::{append, event, several, stream, write},
};

async fn conflicts(store: &dyn EventStore, expected: Expected, stands_at: Option<u64>) {
    match store.append(append("a", expected, 1)).await {
        Err(AppendError::Conflict {
            stream: found,
            actual,
        }) => {
            assert_eq!((found, actual), (stream("a"), stands_at), "{expected:?}");
        }
        other => panic!("{expected:?}: {other:?}"),
    }
}

pub(crate) async fn an_append_behind_a_certain_event_lands_behind_no_other(stores: &Stores) {
    let at = |revision, id| Expected::At { revision, id };
    let first = append("a", Expected::NoStream, 2);
    let ids: Vec<Uuid> = first.writes[0].events.iter().map(|event| event.id).collect();
    conflicts(&*stores.first, at(0, ids[0]), None).await;
    stores.first.append(first).await.expect("recorded");
    // Whoever wrote it, and whatever else was written since.
    for (store, other) in [(&stores.first, &stores.second), (&stores.second, &stores.first)] {
        let length = store.load(&stream("a"), 0).await.expect("readable").len() as u64;
        let last = store.load(&stream("a"), length - 1).await.expect("readable")[0].id;
        for wrong in [
            at(length - 1, Uuid::from_u128(7)),
            at(length - 2, last),
            at(length, last),
        ] {
            conflicts(&**store, wrong, Some(length - 1)).await;
        }
        conflicts(&**store, at(length - 2, ids[0]), Some(length - 1)).await;
        other
            .append(append("b", Expected::Any, 1))
            .await
            .expect("recorded");
        let next = append("a", at(length - 1, last), 1);
        let landed = store.append(next.clone()).await.expect("recorded");
        // The same again is the same, although the stream has moved on with it.
        assert_eq!(
            store.append(next).await.expect("recorded").position,
            landed.position
        );
        conflicts(&**store, at(length - 1, last), Some(length)).await;
    }
}

/// Each is decided on the one before it, whose answer is still to come.
pub(crate) async fn a_chain_of_appends_lands_whole_or_up_to_where_it_breaks(stores: &Stores) {
    let mut expected = Expected::NoStream;
    let mut chain = Vec::new();
    for revision in 0..20 {
        let own = event(&format!(r#"{{"n":{revision}}}"#));
        let id = own.id;
        // The eleventh also wants what is not so, and takes those behind it along.
        let broken = (revision == 10).then(|| write("absent", Expected::Exact(3), Vec::new()));
        let writes = [write("a", expected, vec![own])].into_iter().chain(broken);
        chain.push(several(writes.collect()));
        expected = Expected::At { revision, id };
    }
    let answers = join_all(chain.into_iter().map(|append| stores.first.append(append))).await;
    let recorded = stores.second.load(&stream("a"), 0).await.expect("readable");
    match stores.first.keeps_order() {
        true => assert_eq!(recorded.len(), 10),
        // In another order some come before what they are to follow; none comes in another's place.
        false => assert!((1..=10).contains(&recorded.len()), "{}", recorded.len()),
    }
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(landed) => assert_eq!(recorded[n].position, landed.position),
            Err(AppendError::Conflict { .. }) => assert!(n >= recorded.len(), "{n}"),
            Err(other) => panic!("{n}: {other:?}"),
        }
    }
    for (n, event) in recorded.iter().enumerate() {
        assert_eq!(event.data.get(), format!(r#"{{"n":{n}}}"#));
    }
}
