//! Reapers: any number of them take jobs from workers that are gone.
//!
//! The rule: they judge by `workers::lease::expiry::verdict`, as the real one does, on a read model that may be behind.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use domain::{authz::Principal, id::JobId, jobs::lease::InterruptJob};
use workers::lease::expiry::{self, Verdict};

use super::{
    environment::{Lost, SimulatedEnvironment},
    process::{Answer, Process},
    worker::LEASE,
};

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// Looks for lost workers until the run ends.
pub(super) async fn reap(environment: Rc<SimulatedEnvironment>, name: String) {
    let process = Process::start(&environment, &name);
    let mut unleased = BTreeMap::new();
    loop {
        // A look that fails is made again; what it had seen is seen again.
        if look(&process, &mut unleased).await.is_err() {
            process.say("cannot look");
        }
        environment.tick(PACE).await;
    }
}

async fn look(process: &Process, unleased: &mut BTreeMap<(JobId, u32), Duration>) -> Result<(), Lost> {
    let environment = &process.environment;
    let under_way = environment.statement(|database| database.under_way()).await?;
    let now = environment.now();
    let statuses = environment
        .statement(|database| {
            let status = |(job, _): &(JobId, u32)| database.status(*job, now);
            under_way.iter().map(status).collect::<Vec<_>>()
        })
        .await?;
    let seen = std::mem::take(unleased);
    for ((job, attempt), status) in under_way.iter().copied().zip(&statuses) {
        let since = seen.get(&(job, attempt)).copied();
        let silence = since.map_or(Duration::ZERO, |since| environment.now().saturating_sub(since));
        match expiry::verdict(attempt, status.as_ref(), silence, LEASE) {
            Verdict::Leave => {}
            Verdict::Watch => {
                unleased.insert((job, attempt), since.unwrap_or_else(|| environment.now()));
            }
            Verdict::Lost(cause) => {
                let command = InterruptJob {
                    job,
                    attempt,
                    cause,
                    counts: true,
                };
                let answer = process.run(&Principal::System("reaper"), &command).await;
                if answer == Answer::Unknown {
                    return Err(Lost);
                }
                process.say(&format!("takes attempt {attempt} of {job}: {answer:?}"));
                environment
                    .statement(|database| database.release(job, attempt))
                    .await?;
            }
        }
    }
    Ok(())
}
