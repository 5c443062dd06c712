//! Random histories: whatever was recorded, a rebuilt read model equals the live one, bit for bit.

use std::{collections::BTreeSet, path::Path};

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

/// A recorded payload of every kind of event, its stream's category, and the prefix and number of the stream's key.
const KINDS: [(&str, &str, &str, u8); 65] = [
    (
        "identity.OrganizationCreated.v1",
        "identity.organization",
        "org",
        2,
    ),
    ("identity.ClaimTaken.v1", "identity.claim", "clm", 1),
    ("identity.ClaimReleased.v1", "identity.claim", "clm", 1),
    ("identity.UserRegistered.v1", "identity.user", "usr", 1),
    ("identity.PasswordSet.v1", "identity.user", "usr", 1),
    ("identity.VerificationRequested.v1", "identity.user", "usr", 1),
    ("identity.EmailVerified.v1", "identity.user", "usr", 1),
    ("identity.UserDeactivated.v1", "identity.user", "usr", 1),
    ("identity.UserReactivated.v1", "identity.user", "usr", 1),
    ("identity.PersonErased.v1", "identity.user", "usr", 1),
    ("identity.ErasureCompleted.v1", "identity.user", "usr", 1),
    ("identity.LoginFailed.v1", "identity.login", "lgn", 1),
    ("identity.LoginLocked.v1", "identity.login", "lgn", 1),
    ("identity.LoginsLeftOut.v1", "identity.login", "lgn", 1),
    ("identity.TokenRefused.v1", "identity.tokens", "tok", 1),
    ("identity.TokensLeftOut.v1", "identity.tokens", "tok", 1),
    ("identity.SessionOpened.v1", "identity.session", "ses", 3),
    ("identity.SessionRefreshed.v1", "identity.session", "ses", 3),
    ("identity.RefreshTokenReused.v1", "identity.session", "ses", 3),
    ("identity.SessionRevoked.v1", "identity.session", "ses", 3),
    ("access.RoleDefined.v1", "access.role", "rol", 1),
    ("access.RoleGranted.v1", "access.assignments", "usr", 1),
    ("access.RoleRemoved.v1", "access.assignments", "usr", 1),
    ("access.AdministratorJoined.v1", "access.administrators", "all", 1),
    ("access.AdministratorLeft.v1", "access.administrators", "all", 1),
    ("access.QuotaTaken.v1", "access.ledger", "usr", 1),
    ("access.QuotaReleased.v1", "access.ledger", "usr", 1),
    ("access.StorageTaken.v1", "access.ledger", "usr", 1),
    ("access.GpuTimeBegan.v1", "access.ledger", "usr", 1),
    ("access.GpuTimeTaken.v1", "access.ledger", "usr", 1),
    ("access.PermissionDenied.v1", "access.denials", "usr", 1),
    ("access.DenialsLeftOut.v1", "access.denials", "usr", 1),
    ("audit.DatasetDownloaded.v1", "audit.reads", "usr", 1),
    ("audit.ModelDownloaded.v1", "audit.reads", "usr", 1),
    ("audit.OthersThingRead.v1", "audit.reads", "usr", 1),
    ("audit.OthersThingsListed.v1", "audit.reads", "usr", 1),
    ("audit.ReadsLeftOut.v1", "audit.reads", "usr", 1),
    ("projects.ProjectCreated.v1", "projects.project", "prj", 4),
    ("projects.ExperimentCreated.v1", "projects.experiment", "exp", 5),
    ("datasets.DatasetCreated.v1", "datasets.dataset", "dst", 2),
    ("datasets.VersionAdded.v1", "datasets.dataset", "dst", 2),
    ("models.ModelRegistered.v1", "models.model", "mdl", 3),
    ("models.ModelVersionAdded.v1.trained", "models.model", "mdl", 3),
    ("jobs.WorkerRegistered.v1", "jobs.worker", "wrk", 9),
    ("jobs.WorkerDrainRequested.v1", "jobs.worker", "wrk", 9),
    ("jobs.WorkerEnded.v1", "jobs.worker", "wrk", 9),
    ("jobs.JobQueued.v1", "jobs.job", "job", 6),
    ("jobs.JobPriorityChanged.v1", "jobs.job", "job", 6),
    ("jobs.JobLeased.v1", "jobs.job", "job", 6),
    ("jobs.JobStarted.v1", "jobs.job", "job", 6),
    ("jobs.ProgressReported.v1", "jobs.progress", "job", 6),
    ("jobs.LogAppended.v1", "jobs.progress", "job", 6),
    ("jobs.CheckpointSaved.v1", "jobs.job", "job", 6),
    ("jobs.WorkerTimeMetered.v1", "jobs.job", "job", 6),
    ("jobs.JobInterrupted.v1", "jobs.job", "job", 6),
    ("jobs.JobPauseRequested.v1", "jobs.job", "job", 6),
    ("jobs.JobPaused.v1", "jobs.job", "job", 6),
    ("jobs.JobResumed.v1", "jobs.job", "job", 6),
    ("jobs.JobFailed.v1", "jobs.job", "job", 6),
    ("jobs.JobCancelled.v1", "jobs.job", "job", 6),
    ("jobs.JobRestarted.v1", "jobs.job", "job", 6),
    ("jobs.JobCompleted.v1", "jobs.job", "job", 6),
    ("sharing.AccessGranted.v1", "sharing.access_list", "mdl", 7),
    ("sharing.AccessRevoked.v1", "sharing.access_list", "mdl", 7),
    ("requests.RequestCompleted.v1", "requests.request", "req", 1),
];

/// The kind of a recorded payload: what stands before its version.
fn kind_of(file: &str) -> &str {
    file.split(".v1").next().expect("a kind")
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
        let (file, category, prefix, number) = KINDS[self.kind];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/events");
        let text = std::fs::read_to_string(folder.join(format!("{file}.json"))).expect("a golden payload");
        let text = text.replace("-8000-00000000", &format!("-8000-{:02}000000", self.slot));
        let mut data: Value = serde_json::from_str(&text).expect("JSON");
        let texts: &[&str] = match kind_of(file) {
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
        let key = format!("01920000-0000-7000-8000-{:02}00000000{number:02}", self.slot);
        let key = key.parse().expect("a UUID");
        (stream(category, prefix, key), event(kind_of(file), &data))
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
    let known: BTreeSet<String> = event_registry::samples()
        .expect("samples")
        .into_iter()
        .map(|sample| sample.kind)
        .collect();
    let compared: BTreeSet<String> = KINDS.iter().map(|(file, ..)| kind_of(file).to_owned()).collect();
    assert_eq!(compared, known);
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
