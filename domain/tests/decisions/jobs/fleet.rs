//! Workers that come, are told to go, and go (WK-2); which jobs they may take (JB-6).

use domain::{
    authz::{Concealment, Principal},
    jobs::{
        job::{Job, KindName},
        lease::{LeaseJob, LeaseRefusal},
        requirements::{JobRequirements, Unfit, WorkerCapabilities},
        worker::{
            Declaration, DrainWorker, EndWorker, RegisterWorker, Worker, WorkerEnd, WorkerEvent,
            WorkerRefusal,
        },
    },
};

use super::scenario::*;
use crate::support::{given_when_then::Given, *};

fn declaration() -> Declaration {
    Declaration {
        worker: WORKER,
        name: "host/cpu".into(),
        host: "host".into(),
        device: "cpu".into(),
        memory_bytes: Some(1 << 30),
        code_version: "0.1.0".into(),
        engine: 1,
        labels: ["cpu".to_owned()].into(),
        kinds: [KindName::Training].into(),
    }
}

fn there() -> Given {
    given().stream::<Worker>(WORKER, [WorkerEvent::Registered(declaration())])
}

fn drain(at_once: bool) -> DrainWorker {
    DrainWorker {
        worker: WORKER,
        at_once,
        reason: "a new kernel".into(),
    }
}

fn requested(at_once: bool) -> WorkerEvent {
    WorkerEvent::DrainRequested {
        at_once,
        reason: "a new kernel".into(),
    }
}

/// WK-2
#[test]
fn a_worker_registers_itself_once() {
    let registered = expected_event::<Worker>(WORKER, &WorkerEvent::Registered(declaration()));
    given()
        .when(RegisterWorker(declaration()))
        .by(worker())
        .then_records([registered])
        .when(RegisterWorker(declaration()))
        .by(worker())
        .then_already_so();
    given()
        .when(RegisterWorker(declaration()))
        .by(Principal::Worker(OTHER_WORKER))
        .then_denied("system_only", Concealment::Forbidden);
}

/// WK-2: administrators drain; a gentle drain can be made a hard one, not the other way round.
#[test]
fn an_administrator_drains_a_worker() {
    let request = |at_once| expected_event::<Worker>(WORKER, &requested(at_once));
    let gently = there()
        .when(drain(false))
        .by(root())
        .then_records([request(false)]);
    let gently = gently.when(drain(false)).by(root()).then_already_so();
    let hard = gently.when(drain(true)).by(root()).then_records([request(true)]);
    hard.when(drain(false)).by(root()).then_already_so();
    there()
        .when(drain(false))
        .by(ada())
        .then_denied("role", Concealment::Forbidden);
    given()
        .when(drain(false))
        .by(root())
        .then_refused(WorkerRefusal::Ended);
}

/// WK-2: one that was given up and comes back is still to drain.
#[test]
fn a_worker_ends_once() {
    let end = EndWorker {
        worker: WORKER,
        how: WorkerEnd::Lost,
    };
    let ended = expected_event::<Worker>(WORKER, &WorkerEvent::Ended { how: WorkerEnd::Lost });
    let after = given()
        .stream::<Worker>(WORKER, [WorkerEvent::Registered(declaration()), requested(false)])
        .when(end)
        .then_records([ended])
        .when(end)
        .then_already_so();
    let registered = expected_event::<Worker>(WORKER, &WorkerEvent::Registered(declaration()));
    let back = after
        .when(RegisterWorker(declaration()))
        .by(worker())
        .then_records([registered]);
    assert!(back.log.state::<Worker>(WORKER).draining);
}

fn lease(capabilities: WorkerCapabilities) -> LeaseJob {
    LeaseJob {
        job: JOB,
        worker: WORKER,
        worker_name: "host/cpu".into(),
        capabilities,
    }
}

/// WK-2: a draining worker takes nothing, whatever it believes.
#[test]
fn a_draining_worker_takes_no_job() {
    a_job([])
        .stream::<Worker>(WORKER, [WorkerEvent::Registered(declaration()), requested(false)])
        .when(lease(WorkerCapabilities::default()))
        .by(worker())
        .then_refused(LeaseRefusal::Draining);
}

fn demanding(requirements: JobRequirements) -> Given {
    let order = domain::jobs::job::Order {
        requirements,
        ..super::scenario::order()
    };
    given()
        .a_project_with_data()
        .stream::<Job>(JOB, [domain::jobs::job::JobEvent::Queued(Box::new(order))])
}

/// JB-6, WK-2: a job goes to no worker that lacks what it demands, an older build included; it waits on.
#[test]
fn a_job_waits_for_a_worker_that_fits() {
    let cuda = JobRequirements {
        labels: ["cuda".to_owned()].into(),
        ..JobRequirements::default()
    };
    demanding(cuda)
        .when(lease(declaration().capabilities()))
        .by(worker())
        .then_refused(LeaseRefusal::Unfit(Unfit::Label("cuda".into())));
    let large = JobRequirements {
        memory_bytes: Some(1 << 31),
        ..JobRequirements::default()
    };
    let small = Unfit::Memory {
        demanded: 1 << 31,
        there: 1 << 30,
    };
    demanding(large)
        .when(lease(declaration().capabilities()))
        .by(worker())
        .then_refused(LeaseRefusal::Unfit(small));
    let newer = JobRequirements {
        engine: 2,
        ..JobRequirements::default()
    };
    demanding(newer)
        .when(lease(declaration().capabilities()))
        .by(worker())
        .then_refused(LeaseRefusal::Unfit(Unfit::Engine { needed: 2, there: 1 }));
}
