//! Checkpoints in the object store: which stay, and when they are released.

use domain::jobs::{
    checkpoint::StoredCheckpoint,
    control::{ControlRefusal, RestartJob},
    job::{Job, JobEvent, RestartFrom},
    report::AttemptReport,
};

use super::scenario::*;
use crate::support::*;

fn recorded(attempt: u32, step: u32) -> JobEvent {
    JobEvent::CheckpointStored {
        attempt,
        checkpoint: stored(attempt, step),
    }
}

fn released(attempt: u32, which: &[StoredCheckpoint]) -> JobEvent {
    JobEvent::CheckpointsReleased {
        attempt,
        artifacts: which.iter().map(|stored| stored.artifact.clone()).collect(),
    }
}

fn store(attempt: u32, step: u32, keep: u32) -> AttemptReport {
    AttemptReport::Stored {
        // Where it says that it is counts for nothing: the place follows from job, attempt and hash.
        checkpoint: StoredCheckpoint {
            artifact: "datasets/of-somebody-else".into(),
            ..stored(attempt, step)
        },
        keep,
    }
}

/// JB-4: the newest stay, over attempts; each earlier one is released with the one that takes its place.
#[test]
fn the_newest_checkpoints_stay_and_the_others_are_released() {
    let lost = JobEvent::Interrupted {
        attempt: 1,
        cause: "lost".into(),
        counts: true,
    };
    let first = a_job([leased(1), started(1), recorded(1, 50)])
        .when(report(1, store(1, 100, 2)))
        .by(worker())
        .then_records([expected_job_event(&recorded(1, 100))]);
    assert_eq!(
        first.log.state::<Job>(JOB).stored,
        [stored(1, 50), stored(1, 100)]
    );
    let history = [
        leased(1),
        started(1),
        recorded(1, 50),
        recorded(1, 100),
        lost,
        leased(2),
    ];
    let after = a_job(history)
        .when(report(2, store(2, 150, 2)))
        .by(worker())
        .then_records([
            expected_job_event(&recorded(2, 150)),
            expected_job_event(&released(2, &[stored(1, 50)])),
        ]);
    assert_eq!(
        after.log.state::<Job>(JOB).stored,
        [stored(1, 100), stored(2, 150)]
    );
}

/// A worker that goes on from the newest one always finds it, whatever it is told to keep.
#[test]
fn the_newest_checkpoint_is_never_released_by_its_successor() {
    let after = a_job([leased(1), started(1), recorded(1, 50), recorded(1, 100)])
        .when(report(1, store(1, 150, 0)))
        .by(worker())
        .then_records([
            expected_job_event(&recorded(1, 150)),
            expected_job_event(&released(1, &[stored(1, 50), stored(1, 100)])),
        ]);
    assert_eq!(after.log.state::<Job>(JOB).stored, [stored(1, 150)]);
}

#[test]
fn storing_the_same_checkpoint_again_records_nothing() {
    a_job([leased(1), started(1), recorded(1, 50)])
        .when(report(1, store(1, 50, 2)))
        .by(worker())
        .then_records([]);
}

/// Nobody goes on from a checkpoint of a job that has its result.
#[test]
fn completion_releases_all_checkpoints() {
    let mut log = a_job([leased(1), started(1), recorded(1, 50), recorded(1, 100)]).log;
    log.run(&report(1, completion()), &worker(), NOW);
    let events = log.events::<Job>(JOB);
    let at = events
        .iter()
        .position(|event| *event == released(1, &[stored(1, 50), stored(1, 100)]));
    let end = events
        .iter()
        .position(|event| matches!(event, JobEvent::Completed { .. }));
    assert!(at.is_some() && at < end, "{events:#?}");
    assert!(log.state::<Job>(JOB).stored.is_empty());
}

fn restart(from: RestartFrom) -> RestartJob {
    RestartJob { job: JOB, from }
}

/// JB-3: a failed or cancelled job keeps its checkpoints until it is restarted from the beginning.
#[test]
fn a_restart_from_scratch_releases_checkpoints_and_one_from_a_checkpoint_keeps_them() {
    let saved = JobEvent::CheckpointSaved {
        attempt: 1,
        checkpoint: checkpoint(50),
    };
    for end in [failed(1, "X", "x"), cancelled(1)] {
        let history = [leased(1), started(1), saved.clone(), recorded(1, 50), end];
        let mut log = a_job(history.clone()).log;
        log.run(&restart(RestartFrom::Checkpoint), &ada(), NOW);
        assert_eq!(log.state::<Job>(JOB).stored, [stored(1, 50)]);
        let mut log = a_job(history).log;
        log.run(&restart(RestartFrom::Scratch), &ada(), NOW);
        assert!(log.state::<Job>(JOB).stored.is_empty());
        assert!(log.events::<Job>(JOB).contains(&released(1, &[stored(1, 50)])));
    }
    a_job([leased(1), started(1), failed(1, "X", "x")])
        .when(restart(RestartFrom::Checkpoint))
        .by(ada())
        .then_refused(ControlRefusal::NoCheckpoint);
}
