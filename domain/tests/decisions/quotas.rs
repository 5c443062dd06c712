//! Whose limits count (QU-1): those of the owner on the owner's ledger, whoever acts.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{GpuHoursExceeded, Quota, QuotaExceeded, Quotas, StorageExceeded},
    },
    authz::{AccountState, Principal},
    execute::Command,
    jobs::{
        control::ControlRefusal,
        import::{ImportModel, ImportProblem},
        job::{Job, JobEvent, Order, RestartFrom},
        requirements::JobRequirements,
        start::{StartJob, StartJobRefusal, ValidateJob},
    },
    problems::Problems,
};

use crate::{
    datasets::{add, create, stored},
    jobs::{
        control::{copy, restart},
        scenario::{cancelled, order, queued, scratch, start, start_lora},
    },
    models::import,
    projects::create_project,
    support::{given_when_then::Given, log::Outcome, *},
};

const HOUR: u64 = 3_600_000;

/// One of each.
const ONE: Quotas = Quotas {
    projects: Some(1),
    datasets: Some(1),
    concurrent_jobs: Some(1),
    storage_gb: Some(1),
    gpu_hours: Some(1),
};

/// A gigabyte less nine bytes: the base of the fixtures has ten, a version of the dataset a thousand.
const NEARLY: u64 = 999_999_991;

fn used_up(quota: Quota) -> QuotaExceeded {
    let (limit, used) = (1, 1);
    QuotaExceeded { quota, limit, used }
}

fn too_much(wanted: u64) -> StorageExceeded {
    let (limit, used) = (1_000_000_000, NEARLY);
    StorageExceeded { limit, used, wanted }
}

/// Ada, who may have one of each, has taken this; her job has ended.
fn limited(taken: impl IntoIterator<Item = LedgerEvent>) -> Given {
    given()
        .a_project_with_data()
        .person(&with_quotas(ada(), ONE))
        .stream::<QuotaLedger>(ADA, taken)
        .stream::<Job>(JOB, [queued(), cancelled(0)])
}

/// Those who may act for everybody, and have no limits of their own.
fn powerful() -> [Principal; 2] {
    [
        with_quotas(root(), Quotas::UNLIMITED),
        Principal::System("a part"),
    ]
}

fn refused<C: Command + Clone>(taken: &LedgerEvent, command: &C, expected: &C::Refusal)
where
    C::Refusal: PartialEq + Clone,
{
    for actor in powerful() {
        limited([taken.clone()])
            .when(command.clone())
            .by(actor)
            .then_refused(expected.clone());
    }
}

#[test]
fn an_administrator_and_the_system_do_not_pass_the_owners_storage() {
    let full = stored(NEARLY, "old");
    refused(&full, &add("second"), &too_much(1_000).into());
    let model = ImportModel {
        job: another_job(),
        model: MODEL,
        ..import()
    };
    let no_room = Problems(vec![ImportProblem::Storage(too_much(10))]);
    refused(&full, &model, &no_room);
    let mut spec = start_lora().spec;
    spec.outputs.merged = true;
    let merging = StartJob {
        job: another_job(),
        spec,
        ..start_lora()
    };
    refused(&full, &merging, &StartJobRefusal::Storage(too_much(10)));
}

#[test]
fn an_administrator_and_the_system_do_not_pass_the_owners_counts() {
    let project = domain::projects::project::CreateProject {
        project: domain::id::ProjectId(uuid::Uuid::from_u128(0x14)),
        ..create_project()
    };
    refused(
        &taken(Quota::Projects, "another"),
        &project,
        &used_up(Quota::Projects).into(),
    );
    let dataset = domain::datasets::dataset::CreateDataset {
        dataset: domain::id::DatasetId(uuid::Uuid::from_u128(0xda7b)),
        ..create()
    };
    refused(
        &taken(Quota::Datasets, "another"),
        &dataset,
        &used_up(Quota::Datasets).into(),
    );
    let (jobs, exceeded) = (
        taken(Quota::ConcurrentJobs, "another"),
        used_up(Quota::ConcurrentJobs),
    );
    let order = StartJob {
        job: another_job(),
        ..start()
    };
    refused(&jobs, &order, &exceeded.into());
    refused(&jobs, &ValidateJob(order.clone()), &exceeded.into());
    refused(&jobs, &copy(), &exceeded.into());
    refused(&jobs, &restart(RestartFrom::Scratch), &exceeded.into());
}

#[test]
fn an_administrator_and_the_system_do_not_pass_the_owners_gpu_hours() {
    let used = |milliseconds| LedgerEvent::GpuTimeTaken {
        month: "2026-11".into(),
        milliseconds,
        item: "job_before/1".into(),
    };
    let (limit, exceeded) = (1, HOUR);
    let exceeded = GpuHoursExceeded {
        limit,
        used: exceeded,
    };
    let requirements = JobRequirements {
        labels: ["cuda".to_owned()].into(),
        ..JobRequirements::default()
    };
    let on_a_gpu = StartJob {
        job: another_job(),
        requirements: requirements.clone(),
        ..start()
    };
    refused(&used(HOUR), &on_a_gpu, &StartJobRefusal::GpuHours(exceeded));
    let ended = Order {
        requirements,
        ..order()
    };
    for actor in powerful() {
        given()
            .a_project_with_data()
            .person(&with_quotas(ada(), ONE))
            .stream::<QuotaLedger>(ADA, [used(HOUR)])
            .stream::<Job>(JOB, [JobEvent::Queued(Box::new(ended.clone())), cancelled(0)])
            .when(restart(RestartFrom::Scratch))
            .by(actor)
            .then_refused(ControlRefusal::GpuHours(exceeded));
    }
}

/// The other way round: the actor's limits do not count.
#[test]
fn room_of_the_owner_is_enough_whatever_the_actor_has() {
    fn recorded(command: &impl Command, actor: &Principal) {
        let mut log = limited([]).person(actor).log;
        let outcome = log.run(command, actor, NOW);
        assert!(
            matches!(&outcome, Outcome::Done(events) if !events.is_empty()),
            "{outcome:?}"
        );
    }
    let project = domain::projects::project::CreateProject {
        project: domain::id::ProjectId(uuid::Uuid::from_u128(0x14)),
        ..create_project()
    };
    let dataset = domain::datasets::dataset::CreateDataset {
        dataset: domain::id::DatasetId(uuid::Uuid::from_u128(0xda7b)),
        ..create()
    };
    let engineer = with_quotas(bob(), Quotas::NOTHING);
    recorded(&project, &engineer);
    recorded(&dataset, &engineer);
    let administrator = with_quotas(root(), Quotas::NOTHING);
    recorded(&add("second"), &administrator);
    let order = StartJob {
        job: another_job(),
        spec: scratch(),
        ..start()
    };
    recorded(&order, &administrator);
    recorded(&restart(RestartFrom::Scratch), &administrator);
}

/// An account that is switched off keeps its limits: what it has counts on.
#[test]
fn the_limits_of_an_account_that_is_switched_off_stay() {
    let off = in_state(with_quotas(ada(), ONE), AccountState::Deactivated);
    for (taken, fits) in [(NEARLY, false), (NEARLY - 1_000, true)] {
        let mut log = given()
            .a_project_with_data()
            .person(&off)
            .stream::<QuotaLedger>(ADA, [stored(taken, "old")])
            .log;
        let outcome = log.run(&add("second"), &root(), NOW);
        assert_eq!(matches!(outcome, Outcome::Done(_)), fits, "{outcome:?}");
    }
}

fn another_job() -> domain::id::JobId {
    domain::id::JobId(uuid::Uuid::from_u128(0x10d))
}
