//! The order of the queue, whatever waits in it (JB-6).

use std::collections::BTreeMap;

use domain::{
    id::{JobId, UserId},
    jobs::{
        requirements::PRIORITIES,
        schedule::{AGEING, Share, Waiting, order},
    },
};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Some moment, so many seconds later.
fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds)
}

fn waiting() -> impl Strategy<Value = Waiting> {
    let (owner, priority, losses) = (0_u128..4, PRIORITIES, 0_u32..3);
    let times = (0..50 * AGEING, 0..50 * AGEING);
    (owner, priority, losses, times, any::<u32>()).prop_map(
        |(owner, priority, losses, (queued, later), number)| Waiting {
            job: JobId(Uuid::from_u128(number.into())),
            owner: UserId(Uuid::from_u128(owner)),
            priority,
            losses,
            queued_at: at(queued),
            since: at(queued + later),
        },
    )
}

fn queue() -> impl Strategy<Value = (Vec<Waiting>, BTreeMap<UserId, Share>)> {
    let share = (0_u32..5, 0_u64..1_000).prop_map(|(running, recent)| Share { running, recent });
    let user = (0_u128..4).prop_map(|user| UserId(Uuid::from_u128(user)));
    let shares = prop::collection::btree_map(user, share, 0..4);
    let jobs = prop::collection::vec(waiting(), 0..40).prop_map(|mut jobs| {
        jobs.sort_by_key(|job| job.job);
        jobs.dedup_by_key(|job| job.job);
        jobs
    });
    (jobs, shares)
}

proptest! {
    /// No rank waits for ever: before the job of a rank that waits longest goes none of another rank that came in so
    /// much later, all of it, that the steps between the two are made up for; whoever owns them.
    #[test]
    fn nothing_goes_before_a_rank_that_has_waited_longer_by_more_than_the_difference((jobs, shares) in queue()) {
        let order = order(&jobs, &shares);
        let place: BTreeMap<JobId, usize> = order.iter().enumerate().map(|(place, job)| (*job, place)).collect();
        prop_assert_eq!(place.len(), jobs.len(), "each job once");
        let mut ranks: BTreeMap<i64, Vec<&Waiting>> = BTreeMap::new();
        for job in &jobs {
            ranks.entry(job.rank()).or_default().push(job);
        }
        let first = |rank: &[&Waiting]| rank.iter().map(|job| job.since).min().expect("no rank is empty");
        for (low, humble) in &ranks {
            for (high, others) in ranks.iter().filter(|(high, _)| *high > low) {
                let oldest = humble.iter().filter(|job| job.since == first(humble));
                if first(others) > first(humble) + Duration::seconds((high - low) * AGEING) {
                    for humble in oldest {
                        for other in others {
                            prop_assert!(place[&humble.job] < place[&other.job], "{humble:?} behind {other:?}");
                        }
                    }
                }
            }
        }
    }

    /// Priority counts: of jobs that came in within an hour the higher rank goes first.
    #[test]
    fn within_an_hour_the_higher_rank_goes_first((jobs, shares) in queue()) {
        let jobs: Vec<Waiting> = jobs
            .into_iter()
            .map(|job| Waiting { since: at(job.since.unix_timestamp() % AGEING), ..job })
            .collect();
        let order = order(&jobs, &shares);
        let known: BTreeMap<JobId, &Waiting> = jobs.iter().map(|job| (job.job, job)).collect();
        let ranks: Vec<i64> = order.iter().map(|job| known[job].rank()).collect();
        prop_assert!(ranks.is_sorted_by(|one, next| one >= next), "{ranks:?}");
    }

    /// A user's jobs of one rank keep their order, and turns alternate between two users who are alike.
    #[test]
    fn users_who_are_alike_alternate(first in 1_usize..20, second in 1_usize..20, hours in 0_i64..100) {
        let job = |number: usize, owner: u128, born: i64| Waiting {
            job: JobId(Uuid::from_u128(number as u128)),
            owner: UserId(Uuid::from_u128(owner)),
            priority: 0,
            losses: 0,
            queued_at: at(born),
            since: at(born),
        };
        let early = (0..first).map(|number| job(number, 1, number as i64));
        let late = (0..second).map(|number| job(100 + number, 2, hours * AGEING + 1_000 + number as i64));
        let jobs: Vec<Waiting> = early.chain(late).collect();
        let order = order(&jobs, &BTreeMap::new());
        for pair in 0..first.min(second) {
            prop_assert_eq!(order[2 * pair], jobs[pair].job);
            prop_assert_eq!(order[2 * pair + 1], jobs[first + pair].job);
        }
    }

    /// A queue that is fed with urgent jobs for ever, one each minute, and drained one a minute, comes to the humblest
    /// job within the hours that separate it from the most urgent.
    #[test]
    fn a_steady_stream_of_urgent_jobs_starves_nobody(rival in 1_u128..4, losses in 0_u32..3) {
        let job = |number: u64, owner: u128, priority, losses, born: i64| Waiting {
            job: JobId(Uuid::from_u128(number.into())),
            owner: UserId(Uuid::from_u128(owner)),
            priority,
            losses,
            queued_at: at(born),
            since: at(born),
        };
        let humble = job(0, 0, -10, losses, 0);
        let mut urgent = vec![job(1, rival, 10, 0, 0), job(2, rival, 10, 0, 0)];
        let mut minute = 0;
        loop {
            minute += 1;
            urgent.push(job(u64::try_from(minute).expect("small") + 2, rival, 10, 0, minute * 60));
            let all: Vec<Waiting> = urgent.iter().copied().chain([humble]).collect();
            let first = order(&all, &BTreeMap::new())[0];
            if first == humble.job {
                break;
            }
            urgent.retain(|job| job.job != first);
            prop_assert!(minute <= (21 + i64::from(losses)) * 60, "still waiting after {minute} minutes");
        }
    }
}
