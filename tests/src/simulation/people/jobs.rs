//! What users do with their jobs.
//!
//! One rule: a job that is asked for again is asked for with the same ids.

use std::cell::RefCell;

use domain::{
    id::{DatasetId, ExperimentId, Ids as _, JobId, ModelId},
    jobs::{
        control::{ChangeJobPriority, PauseJob, RestartJob, ResumeJob},
        job::RestartFrom,
        requirements::JobRequirements,
        spec::{Architecture, HyperParameters, Method, Objective, Outputs, TrainingSpec},
        start::{CancelJob, StartJob},
    },
};
use uuid::Uuid;

use super::{User, UserAction};
use crate::simulation::process::{Answer, Process};

/// Something about a job that was started before.
pub(super) async fn control(process: &Process, user: &RefCell<User>, action: &UserAction) -> Answer {
    let (id, jobs) = (user.borrow().account, user.borrow().jobs.clone());
    let chosen = |number: &usize| jobs.get(number % jobs.len().max(1)).copied();
    let reason = "a typo".to_owned();
    match action {
        UserAction::Cancel(number) => match chosen(number) {
            Some(job) => process.request(id, &CancelJob { job, reason }).await,
            None => Answer::Done,
        },
        UserAction::Pause(number) => match chosen(number) {
            Some(job) => process.request(id, &PauseJob { job, reason }).await,
            None => Answer::Done,
        },
        UserAction::Resume(number) => match chosen(number) {
            Some(job) => process.request(id, &ResumeJob { job }).await,
            None => Answer::Done,
        },
        UserAction::Restart(number) => match chosen(number) {
            Some(job) => {
                let from = match number % 2 {
                    0 => RestartFrom::Checkpoint,
                    _ => RestartFrom::Scratch,
                };
                process.request(id, &RestartJob { job, from }).await
            }
            None => Answer::Done,
        },
        UserAction::Move(number, priority) => match chosen(number) {
            Some(job) => {
                let priority = *priority;
                process.request(id, &ChangeJobPriority { job, priority }).await
            }
            None => Answer::Done,
        },
        _ => Answer::Done,
    }
}

/// Starts a job; now and then a second one from another device at the same moment.
pub(super) async fn start(process: &Process, user: &RefCell<User>, job: JobId, model: ModelId) -> Answer {
    let first = order(user, job, model);
    let id = first.owner;
    if !process.environment.chance(300) {
        return process.request(id, &first).await;
    }
    let ids = &process.environment.ids;
    let second = order(user, JobId(ids.next()), ModelId(ids.next()));
    let device = Process::start(&process.environment, &format!("{}'", process.name));
    let both = futures::future::join(process.request(id, &first), device.request(id, &second));
    let (answer, other) = both.await;
    device.say(&format!("starts {} as well: {other:?}", second.job));
    answer
}

fn order(user: &RefCell<User>, job: JobId, model: ModelId) -> StartJob {
    let mut user = user.borrow_mut();
    if !user.jobs.contains(&job) {
        user.jobs.push(job);
    }
    let shape = Architecture {
        layers: 2,
        heads: 2,
        width: 64,
        context: 128,
        vocabulary: 512,
    };
    StartJob {
        job,
        model,
        owner: user.account,
        name: "Poet".to_owned(),
        experiment: user.experiment.unwrap_or(ExperimentId(Uuid::nil())),
        dataset: (user.dataset.unwrap_or(DatasetId(Uuid::nil())), None),
        base: None,
        base_shape: None,
        spec: TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Scratch(shape),
            objective: Objective::default(),
            parameters: HyperParameters::default(),
        },
        max_attempts: 4,
        requirements: JobRequirements::default(),
        longest_run_seconds: None,
        cloned_from: None,
    }
}
