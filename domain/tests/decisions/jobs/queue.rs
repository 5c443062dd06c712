//! The order of the queue, whatever waits in it (JB-6).

use std::collections::BTreeMap;

use domain::{
    id::{JobId, UserId},
    jobs::{
        schedule::{AGEING, Share, Waiting, order},
        terms::PRIORITIES,
    },
};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

fn waiting() -> impl Strategy<Value = Waiting> {
    let (owner, priority, losses) = (0_u128..4, PRIORITIES, 0_u32..3);
    (owner, priority, losses, 0..50 * AGEING, any::<u32>()).prop_map(
        |(owner, priority, losses, waited, number)| Waiting {
            job: JobId(Uuid::from_u128(number.into())),
            owner: UserId(Uuid::from_u128(owner)),
            priority,
            losses,
            queued_at: OffsetDateTime::UNIX_EPOCH - Duration::seconds(i64::try_from(waited).expect("small")),
            waited,
        },
    )
}

fn queue() -> impl Strategy<Value = (Vec<Waiting>, BTreeMap<UserId, Share>)> {
    let share = (0_u32..5, 0_u64..1_000).prop_map(|(running, recent)| Share { running, recent });
    let shares = prop::collection::btree_map(
        (0_u128..4).prop_map(|user| UserId(Uuid::from_u128(user))),
        share,
        0..4,
    );
    let jobs = prop::collection::vec(waiting(), 0..40).prop_map(|mut jobs| {
        jobs.sort_by_key(|job| job.job);
        jobs.dedup_by_key(|job| job.job);
        jobs
    });
    (jobs, shares)
}

proptest! {
    /// No job waits for ever: what came so much later that its higher priority is made up for does not go before,
    /// whoever owns it and whatever was lost.
    #[test]
    fn nothing_goes_before_a_job_that_has_waited_longer_by_more_than_the_difference((jobs, shares) in queue()) {
        let order = order(&jobs, &shares);
        let place: BTreeMap<JobId, usize> = order.iter().enumerate().map(|(place, job)| (*job, place)).collect();
        prop_assert_eq!(place.len(), jobs.len(), "each job once");
        for humble in &jobs {
            for other in &jobs {
                let steps = i64::from(other.priority) - i64::from(humble.priority) + 1;
                let needed = u64::try_from(steps.max(0)).expect("not negative") * AGEING;
                if humble.waited >= other.waited + needed && steps >= 0 && humble.job != other.job {
                    prop_assert!(place[&humble.job] < place[&other.job], "{humble:?} behind {other:?}");
                }
            }
        }
    }

    /// A queue that is fed with urgent jobs for ever, one each minute, and drained one a minute, comes to the humblest
    /// job within the twenty-one hours that separate it from the most urgent.
    #[test]
    fn a_steady_stream_of_urgent_jobs_starves_nobody(rival in 1_u128..4, losses in 0_u32..3) {
        let job = |number: u64, owner: u128, priority, losses, born: u64, now: u64| Waiting {
            job: JobId(Uuid::from_u128(number.into())),
            owner: UserId(Uuid::from_u128(owner)),
            priority,
            losses,
            queued_at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::try_from(born).expect("small")),
            waited: now - born,
        };
        let mut urgent: Vec<u64> = vec![0, 0];
        let mut done = false;
        let (mut minute, mut number) = (0_u64, 2_u64);
        let mut numbers: Vec<u64> = vec![1, 2];
        while !done && minute <= 21 * 60 + 1 {
            let now = minute * 60;
            urgent.push(now);
            number += 1;
            numbers.push(number);
            let mut jobs: Vec<Waiting> = urgent
                .iter()
                .zip(&numbers)
                .map(|(born, number)| job(*number, rival, 10, 0, *born, now))
                .collect();
            jobs.push(job(0, 0, -10, losses, 0, now));
            let first = order(&jobs, &BTreeMap::new())[0];
            done = first == JobId(Uuid::nil());
            if let Some(index) = numbers.iter().position(|number| first == JobId(Uuid::from_u128((*number).into()))) {
                numbers.remove(index);
                urgent.remove(index);
            }
            minute += 1;
        }
        prop_assert!(done, "still waiting after {minute} minutes");
    }
}
