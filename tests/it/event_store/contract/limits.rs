//! What every adapter promises about size: as much as the limits allow comes back whole, more is refused whole.

use domain::event_store::{Append, AppendError, Expected, Filter, Metadata, NewEvent, Position};
use event_store::postgres::{MAX_APPEND, MAX_DATA, MAX_EVENTS, MAX_META, MAX_NAME};

use super::{
    super::{
        Stores,
        make::{append, event, several, stream, write},
    },
    everything,
    reading::follow,
};

/// An event whose payload takes `bytes` bytes and tells by `mark` whether it is this one.
fn sized(bytes: usize, mark: usize) -> NewEvent {
    let frame = format!(r#"{{"mark":{mark},"text":""}}"#).len();
    event(&format!(
        r#"{{"mark":{mark},"text":"{}"}}"#,
        "x".repeat(bytes - frame)
    ))
}

fn long_key(bytes: usize) -> String {
    "k".repeat(bytes - stream("").as_str().len())
}

/// As large as they may be: payloads, number of events, names, metadata, and the append as a whole.
pub(crate) async fn the_largest_appends_come_back_whole(stores: &Stores) {
    let store = &stores.first;
    let many = append("many", Expected::NoStream, MAX_EVENTS);
    let large = (0..MAX_APPEND / MAX_DATA - 1).map(|mark| sized(MAX_DATA, mark));
    let large = several(vec![write("large", Expected::NoStream, large.collect())]);
    let mut named = several(vec![write(
        &long_key(MAX_NAME),
        Expected::NoStream,
        vec![event("{}")],
    )]);
    named.writes[0].events[0].kind = "k".repeat(MAX_NAME);
    named.meta = Metadata {
        user_agent: Some("ü".repeat(MAX_META / 2 - 100)),
        ..named.meta
    };
    let appends = [many, large, named];
    let mut after = Position::START;
    for append in &appends {
        let landed = store.append(append.clone()).await.expect("within the limits");
        assert!(landed.position > after);
        after = landed.position;
        assert_eq!(
            store.append(append.clone()).await.expect("known"),
            landed,
            "a retry of the largest append, too, is found again"
        );
    }
    let mut subscription = stores.second.subscribe(Position::START, Filter::all());
    let total = appends.iter().map(|append| append.writes[0].events.len()).sum();
    for seen in [
        everything(&*stores.second).await,
        follow(&mut *subscription, total).await,
    ] {
        let sent = appends
            .iter()
            .flat_map(|append| append.writes[0].events.iter().map(move |event| (append, event)));
        assert_eq!(seen.len(), total);
        for (recorded, (append, sent)) in seen.iter().zip(sent) {
            assert_eq!(recorded.id, sent.id);
            assert_eq!(recorded.kind, sent.kind);
            assert_eq!(recorded.stream, append.writes[0].stream);
            assert_eq!(recorded.meta, append.meta);
            assert!(
                recorded.data.get() == sent.data.get(),
                "{} has other bytes",
                sent.id
            );
        }
    }
    let loaded = store.load(&stream("large"), 0).await.expect("readable");
    assert_eq!(loaded.len(), MAX_APPEND / MAX_DATA - 1);
}

/// One more than allowed of anything: refused as a whole, and the streams stay free.
pub(crate) async fn appends_beyond_the_limits_are_refused_and_leave_no_trace(stores: &Stores) {
    let one = |event| several(vec![write("a", Expected::NoStream, vec![event])]);
    let mut kind_too_long = event("{}");
    kind_too_long.kind = "k".repeat(MAX_NAME + 1);
    let mut kind_with_control = event("{}");
    kind_with_control.kind = "test.\u{7}".to_owned();
    let mut kindless = event("{}");
    kindless.kind.clear();
    let mut version_too_high = event("{}");
    version_too_high.schema_version = 1 << 15;
    let mut meta_too_long = one(event("{}"));
    meta_too_long.meta.user_agent = Some("u".repeat(MAX_META));
    let full = (0..=MAX_APPEND / MAX_DATA).map(|mark| sized(MAX_DATA, mark));
    let spread = (0..=MAX_EVENTS).map(|n| write(&n.to_string(), Expected::Any, vec![event("{}")]));
    let beyond: Vec<Append> = vec![
        one(sized(MAX_DATA + 1, 0)),
        one(kind_too_long),
        one(kind_with_control),
        one(kindless),
        one(version_too_high),
        several(vec![write(
            &long_key(MAX_NAME + 1),
            Expected::Any,
            vec![event("{}")],
        )]),
        meta_too_long,
        several(vec![write("a", Expected::NoStream, full.collect())]),
        several(spread.collect()),
    ];
    for (number, append) in beyond.into_iter().enumerate() {
        match stores.first.append(append).await {
            Err(AppendError::Malformed(why)) => assert!(!why.is_empty()),
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!(stores.second.head().await.expect("readable"), Position::START);
    let whole = append("a", Expected::NoStream, 1);
    stores.first.append(whole).await.expect("the stream is free");
}
