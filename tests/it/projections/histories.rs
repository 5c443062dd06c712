//! Random histories: whatever was recorded, a rebuilt read model equals the live one, bit for bit.

use std::sync::LazyLock;

use anneal::contracts::STREAMS;
use domain::{
    event_registry,
    event_store::{NewEvent, Position, StreamId},
};
use projections::rebuild::{Limits, RebuildOptions};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json, value::RawValue};

use super::fixture::{Fixture, TIMEOUT, event, stream};

/// A kind of event with a payload of it, and the key of its stream.
#[derive(Debug)]
struct Known {
    kind: String,
    payload: String,
    category: &'static str,
    prefix: &'static str,
    number: u8,
}

/// Every kind of event that this build records, with its first sample.
static KINDS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let samples = event_registry::samples().expect("samples");
    let payload = |kind: &str| {
        let sampled = |one: &&event_registry::Sample| one.kind == kind && one.case == case(kind);
        let sample = samples.iter().find(sampled).expect("a sample");
        sample.payload.to_string()
    };
    let mut kinds: Vec<(usize, Known)> = event_registry::kinds()
        .map(|one| {
            let at = STREAMS
                .iter()
                .position(|(category, ..)| *category == one.category);
            let at = at.unwrap_or_else(|| panic!("which keys do the streams {} have?", one.category));
            let (category, prefix, number) = STREAMS[at];
            let kind = one.fields.kind.to_owned();
            let payload = payload(&kind);
            (
                at,
                Known {
                    kind,
                    payload,
                    category,
                    prefix,
                    number,
                },
            )
        })
        .collect();
    kinds.sort_by_key(|(at, _)| *at);
    kinds.into_iter().map(|(_, kind)| kind).collect()
});

/// Which of the samples of a kind is taken: the one that says most to read models.
fn case(kind: &str) -> Option<&'static str> {
    (kind == "models.ModelVersionAdded").then_some("trained")
}

/// One step of a history: which kind, of which of a few things, with which text and number in it.
#[derive(Clone, Debug)]
struct Step {
    kind: usize,
    slot: u8,
    text: String,
    number: f64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = prop_oneof![any::<String>(), Just("\u{0}\\\t\n\"{}".to_owned())];
    let step = (0..KINDS.len(), 0..3_u8, text, -1e9..1e9_f64).prop_map(|(kind, slot, text, number)| Step {
        kind,
        slot,
        text,
        number,
    });
    proptest::collection::vec(step, 1..120)
}

impl Step {
    fn event(&self) -> (StreamId, NewEvent) {
        let known = &KINDS[self.kind];
        let slot = format!("-8000-{:02}000000", self.slot);
        let text = known.payload.replace("-8000-00000000", &slot);
        let mut data: Value = serde_json::from_str(&text).expect("JSON");
        let texts: &[&str] = match known.kind.as_str() {
            // Its reason is one of a few words.
            "identity.PersonErased" => &[],
            _ => &["name", "description", "reason"],
        };
        for field in texts {
            if let Some(value) = data.get_mut(field) {
                *value = json!(self.text);
            }
        }
        if let Some(loss) = data.pointer_mut("/points/0/loss") {
            *loss = json!(self.number);
        }
        let key = format!(
            "01920000-0000-7000-8000-{:02}00000000{:02}",
            self.slot, known.number
        );
        let key = key.parse().expect("a UUID");
        (
            stream(known.category, known.prefix, key),
            event(&known.kind, &data),
        )
    }
}

/// Records an event of each kind and folds them, so that each read model has a row.
pub(super) async fn fold_one_of_each(fixture: &Fixture) {
    let running = fixture.start(projections::all);
    let mut last = None;
    for (stream, event) in one_of_each() {
        last = Some(fixture.record(vec![(stream, vec![event])]).await);
    }
    let folded = running
        .progress
        .wait_for_position(last.expect("recorded"), TIMEOUT);
    folded.await.expect("folded");
    running.end().await;
}

/// One event of every kind, about a few things that belong together.
pub(super) fn one_of_each() -> Vec<(StreamId, NewEvent)> {
    let step = |kind| Step {
        kind,
        slot: 0,
        text: "Ada".to_owned(),
        number: 0.5,
    };
    (0..KINDS.len()).map(|kind| step(kind).event()).collect()
}

async fn replay(steps: Vec<Step>, limits: Limits) {
    let fixture = Fixture::new().await;
    let running = fixture.start(projections::all);
    let mut last = Position::START;
    for some in steps.chunks(7) {
        for step in some {
            let (stream, event) = step.event();
            last = fixture.record(vec![(stream, vec![event])]).await;
        }
        running
            .progress
            .wait_for_position(last, TIMEOUT)
            .await
            .expect("folded");
    }
    let options = RebuildOptions {
        compare: true,
        swap: true,
        discard: false,
    };
    let outcomes = fixture.rebuild(projections::all, options, limits).await;
    assert_eq!(outcomes.len(), projections::all().len());
    for outcome in outcomes {
        let comparison = outcome.comparison.clone().expect("compared");
        assert!(comparison.is_equal(), "{}: {comparison:?}", outcome.name);
        assert!(outcome.swapped, "{outcome:?}");
    }
    // And what is live now goes on as if nothing had been.
    let (stream, event) = steps[0].event();
    let last = fixture.record(vec![(stream, vec![event])]).await;
    running
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded on");
    for comparison in fixture.check(projections::all).await {
        assert!(comparison.is_equal(), "{comparison:?}");
        assert_eq!(comparison.position, last);
    }
    running.end().await;
}

fn histories(cases: u32, limits: Limits) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(replay(steps, limits));
        Ok(())
    });
    outcome.expect("every history replays");
}

/// AU-5: bit for bit.
#[test]
fn a_rebuilt_read_model_equals_the_live_one_after_any_history() {
    histories(8, Limits::default());
}

/// AU-5: also when rows leave memory after every page and come back from the table.
#[test]
fn memory_that_holds_nothing_changes_nothing() {
    histories(6, Limits { page: 5, memory: 0 });
}

/// AU-5: what every fixture of a payload says, all kinds at once, in the order of the list.
#[tokio::test]
async fn every_kind_of_event_is_in_the_comparison() {
    let steps = (0..KINDS.len()).map(|kind| Step {
        kind,
        slot: 0,
        text: "Ada".to_owned(),
        number: 0.1 + 0.2,
    });
    replay(steps.collect(), Limits::default()).await;
}

/// Rows come and go as JSON text, and numbers are the same afterwards to the last bit.
#[test]
fn floating_point_numbers_survive_text() {
    for bits in [
        0x3fd5_5555_5555_5555_u64,
        0x7fef_ffff_ffff_ffff,
        0x0000_0000_0000_0001,
    ] {
        let number = f64::from_bits(bits);
        let text = serde_json::to_string(&number).expect("a number");
        let raw = RawValue::from_string(text).expect("JSON");
        let back: f64 = serde_json::from_str(raw.get()).expect("a number");
        assert_eq!(back.to_bits(), bits);
    }
}
