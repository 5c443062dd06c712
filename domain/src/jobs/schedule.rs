//! In which order waiting jobs go, and when one of them is likely to begin (JB-6).
//!
//! One rule: it depends on nothing but its arguments, so that every worker, the queue that users see and the
//! simulation have the same order.
//!
//! Priority comes first; a worker that was lost costs a step of it, so that a bad job cannot hold the others up. Of
//! jobs of one rank users take turns: whoever has the fewest jobs under way is next, of those whoever has used workers
//! least of late, of those whoever waits longest. And ranks age: an hour ([`AGEING`]) that the longest-waiting job of a
//! rank waits longer than that of another makes up for one step between the two, without end, so that no rank waits for
//! ever. It is the rank that is lifted, not the job: whoever queued a hundred first does not get ahead of the others by
//! it. Differences of times are all that counts, so the order is the same at every moment until something happens.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use time::OffsetDateTime;

use crate::id::{JobId, UserId};

/// Seconds of waiting that make up for one step of priority.
pub const AGEING: i64 = 3_600;

/// A job that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// The job.
    pub job: JobId,
    /// The owner.
    pub owner: UserId,
    /// Higher goes first.
    pub priority: i8,
    /// How many workers it has lost since it was queued or restarted.
    pub losses: u32,
    /// When it was queued.
    pub queued_at: OffsetDateTime,
    /// When it last came into the queue: queued, resumed, restarted, or back from a worker.
    pub since: OffsetDateTime,
}

impl Waiting {
    /// Its priority, less a step for each worker that it has lost.
    #[must_use]
    pub fn rank(&self) -> i64 {
        i64::from(self.priority) - i64::from(self.losses)
    }
}

/// What a user has of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Jobs under way.
    pub running: u32,
    /// Milliseconds on workers of late; what "of late" is, the caller decides.
    pub recent: u64,
}

/// Where one user stands among the others: fewest jobs, least use, longest wait.
type Turn = (u32, u64, OffsetDateTime, JobId, UserId);

/// The waiting jobs of one rank.
#[derive(Default)]
struct Rank {
    /// Of each user, the next one last.
    queues: BTreeMap<UserId, Vec<Waiting>>,
    /// The next one of each user.
    turns: BTreeSet<Turn>,
    /// When each came into the queue.
    since: BTreeSet<(OffsetDateTime, JobId)>,
}

impl Rank {
    /// What ranks are compared by, the least first: the second its longest-waiting job came in, less an hour for each
    /// step.
    fn lifted(&self, rank: i64) -> Option<(i64, Reverse<i64>)> {
        let (since, _) = self.since.first()?;
        let seconds = since.unix_timestamp().saturating_sub(rank.saturating_mul(AGEING));
        Some((seconds, Reverse(rank)))
    }

    fn turn(job: &Waiting, running: u32, shares: &BTreeMap<UserId, Share>) -> Turn {
        let recent = shares.get(&job.owner).map_or(0, |share| share.recent);
        (running, recent, job.queued_at, job.job, job.owner)
    }

    /// A user's jobs under way are other ones than they were.
    fn count(&mut self, user: UserId, (before, now): (u32, u32), shares: &BTreeMap<UserId, Share>) {
        if let Some(next) = self.queues.get(&user).and_then(|queue| queue.last()) {
            self.turns.remove(&Self::turn(next, before, shares));
            self.turns.insert(Self::turn(next, now, shares));
        }
    }

    /// Takes whoever is next; the caller then counts.
    fn take(&mut self, running: &BTreeMap<UserId, u32>, shares: &BTreeMap<UserId, Share>) -> Option<Waiting> {
        let (.., owner) = self.turns.pop_first()?;
        let queue = self.queues.get_mut(&owner)?;
        let taken = queue.pop()?;
        if let Some(next) = queue.last() {
            let busy = running.get(&owner).copied().unwrap_or_default();
            self.turns.insert(Self::turn(next, busy, shares));
        }
        self.since.remove(&(taken.since, taken.job));
        Some(taken)
    }
}

/// The order in which `waiting` jobs go to workers. Users of whom nothing is known have no `share`.
#[must_use]
pub fn order(waiting: &[Waiting], shares: &BTreeMap<UserId, Share>) -> Vec<JobId> {
    let mut running: BTreeMap<UserId, u32> = shares
        .iter()
        .map(|(user, share)| (*user, share.running))
        .collect();
    let mut sorted = waiting.to_vec();
    // Backwards, so that the next one of each user can be popped.
    sorted.sort_unstable_by_key(|job| Reverse((job.queued_at, job.job)));
    let mut ranks: BTreeMap<i64, Rank> = BTreeMap::new();
    for job in sorted {
        let rank = ranks.entry(job.rank()).or_default();
        rank.since.insert((job.since, job.job));
        rank.queues.entry(job.owner).or_default().push(job);
    }
    for rank in ranks.values_mut() {
        let next = rank.queues.values().filter_map(|queue| queue.last());
        let busy = |job: &Waiting| running.get(&job.owner).copied().unwrap_or_default();
        rank.turns = next.map(|job| Rank::turn(job, busy(job), shares)).collect();
    }
    let mut ordered = Vec::with_capacity(waiting.len());
    loop {
        let first = ranks
            .iter_mut()
            .filter_map(|(rank, jobs)| Some((jobs.lifted(*rank)?, jobs)))
            .min_by_key(|(lifted, _)| *lifted);
        let Some(taken) = first.and_then(|(_, jobs)| jobs.take(&running, shares)) else {
            return ordered;
        };
        ordered.push(taken.job);
        let busy = running.entry(taken.owner).or_default();
        let change = (*busy, *busy + 1);
        *busy += 1;
        for rank in ranks.values_mut() {
            rank.count(taken.owner, change, shares);
        }
    }
}

/// Seconds until a job begins that `before` others go before, on `workers` workers of which some are busy for
/// `remaining` more seconds each (`None`: nobody knows). `usual`: how long a job usually takes. `None` when
/// there is no worker, or nothing to go by.
#[must_use]
pub fn expected_wait(
    before: usize,
    workers: usize,
    remaining: &[Option<f64>],
    usual: Option<f64>,
) -> Option<f64> {
    let busy: Option<Vec<f64>> = remaining.iter().take(workers).map(|one| one.or(usual)).collect();
    let mut free = busy?;
    free.resize(workers, 0.0);
    for _ in 0..before {
        let next = free.iter_mut().min_by(|one, other| one.total_cmp(other))?;
        // Who finds a free worker at once needs no experience.
        *next += usual?;
    }
    free.into_iter().min_by(f64::total_cmp).map(|wait| wait.max(0.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    use super::{Share, Waiting, expected_wait, order};
    use crate::id::{JobId, UserId};

    const ADA: UserId = UserId(Uuid::from_u128(0xA));
    const BOB: UserId = UserId(Uuid::from_u128(0xB));

    fn waiting(number: u128, owner: UserId) -> Waiting {
        Waiting {
            job: JobId(Uuid::from_u128(number)),
            owner,
            priority: 0,
            losses: 0,
            queued_at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::try_from(number).expect("small")),
            since: OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::try_from(number).expect("small")),
        }
    }

    fn numbers(jobs: &[JobId]) -> Vec<u128> {
        jobs.iter().map(|job| job.0.as_u128()).collect()
    }

    fn shares(of: &[(UserId, u32, u64)]) -> BTreeMap<UserId, Share> {
        let share = |(user, running, recent): &(UserId, u32, u64)| {
            let (running, recent) = (*running, *recent);
            (*user, Share { running, recent })
        };
        of.iter().map(share).collect()
    }

    /// JB-6: whoever queued a hundred first does not keep the others waiting.
    #[test]
    fn users_take_turns() {
        let mut all: Vec<Waiting> = (1..=4).map(|number| waiting(number, ADA)).collect();
        all.push(waiting(9, BOB));
        assert_eq!(numbers(&order(&all, &BTreeMap::new())), [1, 9, 2, 3, 4]);
        assert_eq!(numbers(&order(&all, &shares(&[(ADA, 1, 0)]))), [9, 1, 2, 3, 4]);
        assert_eq!(
            numbers(&order(&all, &shares(&[(ADA, 0, 5), (BOB, 0, 4)]))),
            [9, 1, 2, 3, 4]
        );
        assert_eq!(numbers(&order(&all, &shares(&[(BOB, 2, 0)]))), [1, 2, 3, 9, 4]);
    }

    /// JB-6
    #[test]
    fn priority_comes_before_everything() {
        let urgent = Waiting {
            priority: 1,
            ..waiting(8, ADA)
        };
        let humble = Waiting {
            priority: -10,
            ..waiting(1, BOB)
        };
        let all = [humble, waiting(2, ADA), urgent];
        assert_eq!(numbers(&order(&all, &shares(&[(ADA, 9, 9)]))), [8, 2, 1]);
    }

    /// `job`, which came in so many hours later.
    fn later(hours: i64, job: Waiting) -> Waiting {
        let at = job.since + Duration::hours(hours);
        Waiting {
            queued_at: at,
            since: at,
            ..job
        }
    }

    /// JB-6: every hour of waiting is worth a step.
    #[test]
    fn whoever_waits_comes_nearer() {
        let humble = Waiting {
            priority: -10,
            ..waiting(1, BOB)
        };
        let urgent = Waiting {
            priority: 10,
            ..waiting(1, ADA)
        };
        let urgent = |hours| Waiting {
            job: JobId(Uuid::from_u128(2)),
            ..later(hours, urgent)
        };
        let after = |hours| numbers(&order(&[humble, urgent(hours)], &shares(&[(BOB, 1, 0)])));
        assert_eq!(after(19), [2, 1]);
        assert_eq!(after(20), [2, 1]);
        assert_eq!(after(21), [1, 2]);
    }

    /// JB-6: who queued a hundred long ago does not get ahead of those who come later by it.
    #[test]
    fn users_take_turns_however_long_they_wait() {
        let mut all: Vec<Waiting> = (1..=4).map(|number| waiting(number, ADA)).collect();
        all.push(later(30, waiting(9, BOB)));
        assert_eq!(numbers(&order(&all, &BTreeMap::new())), [1, 9, 2, 3, 4]);
    }

    /// JB-6: one bad job cannot block the queue.
    #[test]
    fn a_job_that_loses_workers_stands_behind_the_others() {
        let bad = Waiting {
            losses: 1,
            ..waiting(1, ADA)
        };
        let worse = Waiting {
            losses: 2,
            ..waiting(2, BOB)
        };
        let all = [worse, bad, waiting(3, ADA), waiting(4, BOB)];
        assert_eq!(numbers(&order(&all, &BTreeMap::new())), [3, 4, 1, 2]);
    }

    #[test]
    fn the_order_does_not_depend_on_that_of_the_rows() {
        let mut all: Vec<Waiting> = (1..=9)
            .map(|number| waiting(number, [ADA, BOB][usize::from(number % 3 == 0)]))
            .collect();
        let one = order(&all, &BTreeMap::new());
        all.reverse();
        assert_eq!(order(&all, &BTreeMap::new()), one);
    }

    #[test]
    fn the_wait_is_that_for_the_first_worker_that_gets_free() {
        assert_eq!(expected_wait(0, 0, &[], Some(1.0)), None, "nobody works");
        assert_eq!(expected_wait(0, 1, &[], None), Some(0.0), "a worker is free");
        assert_eq!(expected_wait(0, 1, &[Some(30.0)], None), Some(30.0));
        assert_eq!(expected_wait(0, 1, &[None], None), None, "nothing to go by");
        assert_eq!(expected_wait(1, 1, &[Some(30.0)], Some(100.0)), Some(130.0));
        assert_eq!(
            expected_wait(2, 2, &[Some(30.0), Some(50.0)], Some(100.0)),
            Some(130.0)
        );
        assert_eq!(expected_wait(1, 2, &[None], Some(100.0)), Some(100.0));
    }
}
