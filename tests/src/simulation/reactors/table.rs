//! The tables of the reactors: lease, checkpoints, deliveries.
//!
//! The rule: every method is one transaction; what is written is written by the newest epoch only.

use std::{collections::BTreeMap, time::Duration};

use domain::event_store::{Position, StreamId};
use uuid::Uuid;

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(2);

/// An effect that is to be tried again.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) effect: Uuid,
    pub(super) stream: StreamId,
    pub(super) revision: u64,
    pub(super) attempts: u32,
    pub(super) next_at: Duration,
}

/// See the module.
#[derive(Default)]
pub(crate) struct ReactorTable {
    epoch: u64,
    expires_at: Duration,
    checkpoints: BTreeMap<&'static str, Position>,
    deliveries: BTreeMap<(&'static str, Uuid), Delivery>,
}

impl ReactorTable {
    /// The lease, if it is free.
    pub(super) fn take(&mut self, now: Duration) -> Option<u64> {
        (self.expires_at <= now).then(|| {
            self.epoch += 1;
            self.expires_at = now + LEASE;
            self.epoch
        })
    }

    /// Renews the lease, unless another has it by now.
    pub(super) fn prove(&mut self, epoch: u64, now: Duration) -> bool {
        let own = self.epoch == epoch;
        if own {
            self.expires_at = now + LEASE;
        }
        own
    }

    pub(super) fn checkpoint(&self, reactor: &'static str) -> Position {
        self.checkpoints.get(reactor).copied().unwrap_or_default()
    }

    /// What is open: checkpoint, and how many are to be tried again.
    pub(super) fn state(&self, reactor: &'static str) -> (Position, usize) {
        let open = self
            .deliveries
            .keys()
            .filter(|(name, _)| *name == reactor)
            .count();
        (self.checkpoint(reactor), open)
    }

    pub(super) fn finish(
        &mut self,
        (epoch, now): (u64, Duration),
        reactor: &'static str,
        (from, to): (Position, Position),
        open: Vec<Delivery>,
    ) -> bool {
        let own = self.checkpoint(reactor) == from && self.prove(epoch, now);
        if own {
            self.checkpoints.insert(reactor, to);
            let rows = open
                .into_iter()
                .map(|delivery| ((reactor, delivery.effect), delivery));
            self.deliveries.extend(rows);
        }
        own
    }

    pub(super) fn due(&self, reactor: &'static str, now: Duration) -> Vec<Delivery> {
        let rows = self.deliveries.iter();
        let due = rows.filter(|((name, _), row)| *name == reactor && row.next_at <= now);
        due.map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn settle(
        &mut self,
        (epoch, now): (u64, Duration),
        key: (&'static str, Uuid),
        open: Option<Delivery>,
    ) -> bool {
        let own = self.prove(epoch, now);
        if own {
            self.deliveries.remove(&key);
            self.deliveries.extend(open.map(|delivery| (key, delivery)));
        }
        own
    }
}
