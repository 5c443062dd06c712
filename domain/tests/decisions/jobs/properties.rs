//! What holds whatever people, workers and the system do to jobs, in whatever order, however late.
//!
//! Each actor looks at the log at one moment and acts at another: every command may be decided on an outdated
//! view, and then is either recorded as decided or not at all.

use std::collections::BTreeMap;

use domain::{
    access::{
        ledger::QuotaLedger,
        quota::{Quota, Quotas},
    },
    authz::{AccountState, Principal},
    decision::LoadedState,
    execute::Command,
    id::{JobId, ModelId, WorkerId},
    jobs::{
        control::{PauseJob, RestartJob, ResumeJob},
        job::{Job, JobEvent, JobState, RestartFrom},
        lease::{InterruptJob, LeaseJob},
        progress::{Batch, Progress, ReportProgress},
        report::{AttemptReport, Report},
        requirements::WorkerCapabilities,
        start::{CancelJob, StartJob},
    },
    models::model::{Model, ModelEvent},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::scenario::*;
use crate::support::{
    log::{Log, Outcome},
    *,
};

const LIMIT: u32 = 2;
const JOBS: u8 = 4;

/// One thing that somebody does to job number `job`.
#[derive(Clone, Copy, Debug)]
struct Step {
    job: u8,
    act: Act,
    /// Whether it is decided on what was seen at the actor's last look, not now.
    outdated: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Start,
    Cancel,
    Pause,
    Resume,
    Restart,
    Lease { worker: u8, owner_active: bool },
    Interrupt { attempt: u32, counts: bool },
    Begin { attempt: u32, worker: u8 },
    Save { attempt: u32, worker: u8 },
    Progress { attempt: u32, worker: u8 },
    Fail { attempt: u32, worker: u8 },
    Complete { attempt: u32, worker: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (attempt, worker) = (1_u32..=4, 0_u8..2);
    let by = (attempt.clone(), worker.clone());
    let act = prop_oneof![
        3 => Just(Act::Start),
        1 => Just(Act::Cancel),
        2 => Just(Act::Pause),
        2 => Just(Act::Resume),
        2 => Just(Act::Restart),
        6 => (worker, prop::bool::weighted(0.9))
            .prop_map(|(worker, owner_active)| Act::Lease { worker, owner_active }),
        3 => (attempt, any::<bool>()).prop_map(|(attempt, counts)| Act::Interrupt { attempt, counts }),
        3 => by.clone().prop_map(|(attempt, worker)| Act::Begin { attempt, worker }),
        2 => by.clone().prop_map(|(attempt, worker)| Act::Save { attempt, worker }),
        3 => by.clone().prop_map(|(attempt, worker)| Act::Progress { attempt, worker }),
        1 => by.clone().prop_map(|(attempt, worker)| Act::Fail { attempt, worker }),
        2 => by.prop_map(|(attempt, worker)| Act::Complete { attempt, worker }),
    ];
    let step = (0..JOBS, act, prop::bool::weighted(0.3)).prop_map(|(job, act, outdated)| Step {
        job,
        act,
        outdated,
    });
    prop::collection::vec(step, 1..80)
}

fn job_id(job: u8) -> JobId {
    JobId(Uuid::from_u128(0x1000 + u128::from(job)))
}

fn model_id(job: u8) -> ModelId {
    ModelId(Uuid::from_u128(0x2000 + u128::from(job)))
}

fn worker_id(worker: u8) -> WorkerId {
    WorkerId(Uuid::from_u128(0x3000 + u128::from(worker)))
}

fn owner() -> Principal {
    let quotas = Quotas {
        concurrent_jobs: Some(LIMIT),
        ..Quotas::UNLIMITED
    };
    with_quotas(ada(), quotas)
}

/// The log, and a counter for ids of progress.
struct Scenario {
    log: Log,
    batches: u64,
}

impl Scenario {
    fn new() -> Self {
        Self {
            log: given().a_project_with_data().person(&owner()).log,
            batches: 0,
        }
    }

    /// Runs `command`, perhaps after somebody else has moved the job on between look and append.
    fn run<C: Command>(&mut self, step: Step, command: &C, principal: &Principal) {
        let seen: LoadedState = self.log.load(command);
        if step.outdated {
            self.interfere(step.job);
        }
        // A conflict records nothing: the actor would look again. Refusals and denials are fine too.
        if let Ok(Outcome::Refused(reason, events)) = self.log.run_on(&seen, command, principal, NOW) {
            assert!(
                events.is_empty() || reason.to_string().contains("failed"),
                "{reason} recorded {events:?}"
            );
        }
    }

    /// Somebody else is quicker: the reaper ends whatever attempt is under way.
    fn interfere(&mut self, job: u8) {
        let attempt = self.log.state::<Job>(job_id(job)).attempt;
        let command = InterruptJob {
            job: job_id(job),
            attempt,
            cause: "quicker".into(),
            counts: true,
        };
        self.log.run(&command, &Principal::System("reaper"), NOW);
    }

    fn take(&mut self, step: Step) {
        let owner = owner();
        let job = job_id(step.job);
        let by = |worker: u8| Principal::Worker(worker_id(worker));
        match step.act {
            Act::Start => {
                let command = StartJob {
                    job,
                    model: model_id(step.job),
                    ..start()
                };
                self.run(step, &command, &owner);
            }
            Act::Cancel => self.run(
                step,
                &CancelJob {
                    job,
                    reason: String::new(),
                },
                &owner,
            ),
            Act::Pause => {
                let reason = String::new();
                self.run(step, &PauseJob { job, reason }, &owner);
            }
            Act::Resume => self.run(step, &ResumeJob { job }, &owner),
            Act::Restart => {
                let from = RestartFrom::Scratch;
                self.run(step, &RestartJob { job, from }, &owner);
            }
            Act::Lease { worker, owner_active } => {
                let state = if owner_active {
                    AccountState::Active
                } else {
                    AccountState::Deactivated
                };
                self.log.person(&in_state(owner, state));
                let command = LeaseJob {
                    job,
                    worker: worker_id(worker),
                    worker_name: "host/cpu".into(),
                    capabilities: WorkerCapabilities::default(),
                };
                self.run(step, &command, &by(worker));
            }
            Act::Interrupt { attempt, counts } => {
                let command = InterruptJob {
                    job,
                    attempt,
                    cause: "silent".into(),
                    counts,
                };
                self.run(step, &command, &Principal::System("reaper"));
            }
            Act::Progress { attempt, worker } => {
                self.batches += 1;
                let id = Uuid::from_u128(u128::from(self.batches) << 64);
                let command = ReportProgress {
                    job,
                    attempt,
                    id,
                    batch: Batch::default(),
                };
                self.run(step, &command, &by(worker));
            }
            Act::Begin { attempt, worker } => {
                let report = AttemptReport::Started {
                    from_step: 0,
                    total_steps: 1,
                    trained_parameters: 1,
                };
                self.run(step, &Report { job, attempt, report }, &by(worker));
            }
            Act::Save { attempt, worker } => {
                let report = AttemptReport::Checkpoint(checkpoint(attempt));
                self.run(step, &Report { job, attempt, report }, &by(worker));
            }
            Act::Fail { attempt, worker } => {
                let report = AttemptReport::Failed {
                    code: "X".into(),
                    message: "x".into(),
                };
                self.run(step, &Report { job, attempt, report }, &by(worker));
            }
            Act::Complete { attempt, worker } => {
                self.run(
                    step,
                    &Report {
                        job,
                        attempt,
                        report: completion(),
                    },
                    &by(worker),
                );
            }
        }
    }

    /// Checks everything that must hold at each moment.
    fn check(&self) {
        let ledger: QuotaLedger = self.log.state(ADA);
        assert!(ledger.used(Quota::ConcurrentJobs) <= LIMIT, "the quota is passed");
        let open = (0..JOBS).filter(|job| {
            let state: Job = self.log.state(job_id(*job));
            state.order.is_some() && !state.state.is_final()
        });
        let open = u32::try_from(open.count()).expect("few jobs");
        assert_eq!(
            ledger.used(Quota::ConcurrentJobs),
            open,
            "exactly the jobs that are not over hold places"
        );
        for job in 0..JOBS {
            self.check_history(&self.log.events::<Job>(job_id(job)));
            self.check_model(job);
        }
    }

    /// The job's history is a walk through its states: one order, numbered attempts, one end, all fenced.
    fn check_history(&self, history: &[JobEvent]) {
        let (mut under_way, mut last, mut ended, mut paused) = (None, 0, false, false);
        for (index, event) in history.iter().enumerate() {
            let restarts = matches!(event, JobEvent::Restarted { .. });
            assert_eq!(
                ended, restarts,
                "of a job that is over only a restart is told: {event:?}"
            );
            assert_eq!(
                matches!(event, JobEvent::Queued(_)),
                index == 0,
                "{event:?} at {index}"
            );
            match event {
                JobEvent::Queued(_) => {}
                JobEvent::Leased { attempt, .. } => {
                    assert_eq!(under_way, None, "leased while it is leased");
                    assert!(!paused, "leased while it is paused");
                    assert_eq!(*attempt, last + 1, "attempts are numbered without gaps");
                    (under_way, last) = (Some(*attempt), *attempt);
                }
                JobEvent::Paused { attempt, .. } => {
                    assert_eq!(
                        (under_way, *attempt),
                        (None, last),
                        "paused while a worker has it"
                    );
                    paused = true;
                }
                JobEvent::Resumed { .. } => paused = false,
                JobEvent::PriorityChanged { .. } | JobEvent::CheckpointsReleased { .. } => {}
                JobEvent::Restarted { attempt, .. } => {
                    assert_eq!(*attempt, last);
                    (under_way, ended, paused) = (None, false, false);
                }
                JobEvent::Started { attempt, .. }
                | JobEvent::CheckpointSaved { attempt, .. }
                | JobEvent::CheckpointStored { attempt, .. }
                | JobEvent::FilesStored { attempt, .. }
                | JobEvent::Metered { attempt, .. }
                | JobEvent::PauseRequested { attempt, .. } => {
                    assert_eq!(under_way, Some(*attempt), "a stale attempt wrote {event:?}");
                }
                JobEvent::Interrupted { attempt, .. } => {
                    assert_eq!(under_way, Some(*attempt), "a stale attempt was interrupted");
                    under_way = None;
                }
                JobEvent::Completed { attempt, .. } => {
                    assert_eq!(under_way, Some(*attempt), "a stale attempt completed");
                    ended = true;
                }
                JobEvent::Failed { attempt, .. } | JobEvent::Cancelled { attempt, .. } => {
                    assert_eq!(*attempt, last, "{event:?} names another attempt than the last");
                    ended = true;
                }
            }
        }
    }

    /// A model exists exactly when its job completed, once, with one version.
    fn check_model(&self, job: u8) {
        let completed = self.log.state::<Job>(job_id(job)).state == JobState::Completed;
        let history = self.log.events::<Model>(model_id(job));
        let expected = if completed { 2 } else { 0 };
        assert_eq!(history.len(), expected, "{history:?}");
        assert!(!completed || matches!(history[0], ModelEvent::Registered { owner: ADA, .. }));
    }

    /// How much progress each attempt of `job` has recorded.
    fn progress(&self, job: u8) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for event in self.log.events::<Progress>(job_id(job)) {
            let (attempt, _) = event.place();
            *counts.entry(attempt).or_default() += 1;
        }
        counts
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// JB-4, JB-6, QU-1, E1: at most one end per job, by its latest lease; places are held by open jobs only.
    #[test]
    fn any_interleaving_of_job_commands_keeps_the_invariants(steps in steps()) {
        let mut scenario = Scenario::new();
        for step in steps {
            let before: Vec<_> = (0..JOBS).map(|job| (scenario.log.state::<Job>(job_id(job)), scenario.progress(job))).collect();
            scenario.take(step);
            scenario.check();
            for (job, (state, progress)) in (0..JOBS).zip(before) {
                let after = scenario.progress(job);
                if after != progress {
                    let Act::Progress { attempt, .. } = step.act else { panic!("{step:?} wrote progress") };
                    prop_assert!(state.state.is_leased() && state.attempt == attempt, "stale progress: {step:?}");
                }
            }
        }
    }
}
