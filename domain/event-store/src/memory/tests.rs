//! The faults themselves: what they do to a caller, and that one seed draws them again.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use domain::{
    clock::{Clock, SystemClock},
    event_store::{
        Append, AppendError, BoxFuture, EventStore as _, Expected, Filter, Metadata, NewEvent, Position,
        StoreError, StreamId, StreamWrite,
    },
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Defect, FaultPlan, MemoryEventStore};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Polls until it is ready: nothing here waits for anything but its own delays.
fn run<T>(mut future: BoxFuture<'_, T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

fn one(n: u128) -> Append {
    let event = NewEvent {
        id: Uuid::from_u128(n),
        kind: "test.Counted".to_owned(),
        schema_version: 1,
        data: RawValue::from_string(n.to_string()).expect("a number is JSON"),
    };
    Append {
        writes: vec![StreamWrite {
            stream: StreamId::new("test.counter", "a"),
            expected: Expected::Any,
            events: vec![event],
        }],
        meta: Metadata::default(),
    }
}

fn ids(store: &MemoryEventStore) -> Vec<u128> {
    store.recorded().iter().map(|event| event.id.as_u128()).collect()
}

fn always(plan: FaultPlan) -> Arc<MemoryEventStore> {
    MemoryEventStore::with_faults(clock(), plan, 1)
}

#[test]
fn a_lost_answer_was_recorded_and_a_lost_request_was_not() {
    let lost = always(FaultPlan {
        lost_answers: 1_000,
        ..FaultPlan::NONE
    });
    let answer = run(lost.append(one(1)));
    assert!(matches!(
        answer,
        Err(AppendError::Store(StoreError::Unavailable(_)))
    ));
    assert_eq!(ids(&lost), [1]);
    lost.heal();
    run(lost.append(one(1))).expect("known");
    assert_eq!(ids(&lost), [1]);

    let refused = always(FaultPlan {
        refused: 1_000,
        ..FaultPlan::NONE
    });
    let answer = run(refused.append(one(1)));
    assert!(matches!(
        answer,
        Err(AppendError::Store(StoreError::Unavailable(_)))
    ));
    let full = always(FaultPlan {
        overloaded: 1_000,
        ..FaultPlan::NONE
    });
    assert!(matches!(run(full.append(one(1))), Err(AppendError::Overloaded)));
    assert!(ids(&refused).is_empty() && ids(&full).is_empty());
}

#[test]
fn a_late_request_is_recorded_after_its_caller_gave_up() {
    let late = always(FaultPlan {
        late: 1_000,
        ..FaultPlan::NONE
    });
    assert!(run(late.append(one(1))).is_err());
    assert!(ids(&late).is_empty());
    late.heal();
    run(late.append(one(2))).expect("recorded");
    assert_eq!(ids(&late), [1, 2]);
}

#[test]
fn a_request_that_arrives_twice_is_recorded_once() {
    let twice = always(FaultPlan {
        duplicated: 1_000,
        ..FaultPlan::NONE
    });
    for n in 1..=50 {
        run(twice.append(one(n))).expect("recorded");
    }
    twice.heal();
    run(twice.head()).expect("readable");
    assert_eq!(ids(&twice), (1..=50).collect::<Vec<_>>());
    assert!(
        twice
            .take_faults()
            .contains(&"a late request was recorded or known")
    );
}

#[test]
fn subscriptions_repeat_disorder_and_break_as_planned() {
    let plan = FaultPlan {
        repeated_pages: 300,
        reordered_pages: 300,
        broken_subscriptions: 300,
        ..FaultPlan::NONE
    };
    let store = always(plan);
    let mut subscription = store.subscribe(Position::START, Filter::all());
    let (mut repeated, mut disordered, mut broken) = (0, 0, 0);
    let mut reached = Position::START;
    for n in 0..300_u128 {
        run(store.append(one(2 * n))).expect("recorded");
        run(store.append(one(2 * n + 1))).expect("recorded");
        match run(subscription.next()) {
            Err(_) => broken += 1,
            Ok(page) if page.next <= reached => repeated += 1,
            Ok(page) => {
                reached = page.next;
                disordered += u32::from(!page.events.is_sorted_by_key(|event| event.position));
            }
        }
    }
    assert!(
        repeated > 30 && disordered > 30 && broken > 30,
        "{repeated} {disordered} {broken}"
    );
}

/// Equal seeds, equal faults; another seed, others.
#[test]
fn a_seed_draws_the_same_faults_again() {
    let history = |seed| {
        let plan = FaultPlan {
            refused: 200,
            lost_answers: 200,
            late: 200,
            failed_reads: 200,
            delayed: 500,
            longest_delay: 5,
            ..FaultPlan::NONE
        };
        let store = MemoryEventStore::with_faults(clock(), plan, seed);
        let mut history = Vec::new();
        for n in 0..200 {
            let answer = run(store.append(one(n))).map(|landed| landed.position);
            history.push(format!("{answer:?} {:?}", run(store.head())));
        }
        (history, ids(&store), store.take_faults())
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}

#[test]
fn planted_defects_break_the_promise_that_they_name() {
    let planted = |defect| {
        let store = always(FaultPlan {
            defect: Some(defect),
            ..FaultPlan::NONE
        });
        for n in 0..400 {
            run(store.append(one(n))).expect("acknowledged");
        }
        store
    };
    assert!(ids(&planted(Defect::LosesAcknowledged)).len() < 400);
    let forgetful = planted(Defect::ForgetsIds);
    run(forgetful.append(one(3))).expect("taken for new");
    assert_eq!(ids(&forgetful).len(), 401);
    let blind = planted(Defect::IgnoresExpectations);
    let mut wrong = one(1_000);
    wrong.writes[0].expected = Expected::NoStream;
    let blindly = (0..400).filter(|n| {
        wrong.writes[0].events[0].id = Uuid::from_u128(1_000 + n);
        run(blind.append(wrong.clone())).is_ok()
    });
    assert!(blindly.count() > 0);
}
