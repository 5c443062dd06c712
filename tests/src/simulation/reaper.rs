//! Reapers: any number of them take jobs from workers that are gone.
//!
//! The rule: they judge by `workers::rule::judge`, as the real one does, on a read model that may be behind.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use domain::{authz::Principal, id::JobId, jobs::lease::InterruptJob};
use workers::rule::{self, Verdict};

use super::{
    process::{Answer, Process},
    worker::LEASE,
    world::{Lost, World},
};

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// Looks for lost workers until the run ends.
pub(super) async fn reap(world: Rc<World>, name: String) {
    let process = Process::start(&world, &name);
    let mut unleased = BTreeMap::new();
    loop {
        // A look that fails is made again; what it had seen is seen again.
        if look(&process, &mut unleased).await.is_err() {
            process.say("cannot look");
        }
        world.tick(PACE).await;
    }
}

async fn look(process: &Process, unleased: &mut BTreeMap<(JobId, u32), Duration>) -> Result<(), Lost> {
    let world = &process.world;
    let under_way = world.statement(|database| database.under_way()).await?;
    let now = world.now();
    let standings = world
        .statement(|database| {
            let standing = |(job, _): &(JobId, u32)| database.standing(*job, now);
            under_way.iter().map(standing).collect::<Vec<_>>()
        })
        .await?;
    let seen = std::mem::take(unleased);
    for ((job, attempt), standing) in under_way.iter().copied().zip(&standings) {
        let since = seen.get(&(job, attempt)).copied();
        let silence = since.map_or(Duration::ZERO, |since| world.now().saturating_sub(since));
        match rule::judge(attempt, standing.as_ref(), silence, LEASE) {
            Verdict::Leave => {}
            Verdict::Watch => {
                unleased.insert((job, attempt), since.unwrap_or_else(|| world.now()));
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
                world.statement(|database| database.release(job, attempt)).await?;
            }
        }
    }
    Ok(())
}
