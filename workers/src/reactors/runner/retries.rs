//! Further tries of one reactor's effects, beside its new events.
//!
//! One rule: the event is read again from the log for each try, so that nothing of it has to be kept.

use std::{sync::Arc, time::Duration};

use domain::event_store::RecordedEvent;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    RunError,
    perform::{EVENT, Performer, together},
    table::{self, Delivery, Setback, Settled},
};
use crate::reactors::EffectError;

/// Deliveries that are tried in one go.
const BATCH: i64 = 32;
/// How long nothing is looked for when nothing is to be tried.
const IDLE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Retries {
    pub(super) performer: Performer,
    /// Told when something was written.
    pub(super) more: Arc<Notify>,
    pub(super) stop: CancellationToken,
}

/// What one try came to: the delivery is done with, and these are open.
struct Tried {
    done: bool,
    effect: uuid::Uuid,
    open: Vec<(Delivery, Setback)>,
}

impl Retries {
    /// Retries what is due, until it is stopped.
    pub(super) async fn follow(&self) -> Result<(), RunError> {
        let (pool, name) = (&self.performer.parts.pool, self.performer.reactor.name());
        while !self.stop.is_cancelled() {
            let wait = match table::due(pool, name, BATCH).await? {
                Ok(due) => {
                    self.again(due).await?;
                    continue;
                }
                Err(wait) => wait.unwrap_or(IDLE).min(IDLE),
            };
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = self.more.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn again(&self, due: Vec<Delivery>) -> Result<(), RunError> {
        let work = due.into_iter().map(|delivery| self.again_one(delivery)).collect();
        let tried = together(work).await?;
        let mut settled = Settled::default();
        for one in tried {
            settled.done.extend(one.done.then_some(one.effect));
            settled.open.extend(one.open);
        }
        let performer = &self.performer;
        let (pool, name) = (&performer.parts.pool, performer.reactor.name());
        fail::fail_point!("reactor.before_settled");
        table::settle(pool, &performer.ownership, name, &settled).await
    }

    async fn again_one(&self, delivery: Delivery) -> Result<Tried, RunError> {
        let effect = delivery.effect;
        let failed = |error: EffectError, delivery: Delivery| Tried {
            done: false,
            effect,
            open: vec![(delivery.clone(), self.performer.setback(&delivery, error, true))],
        };
        let Some(event) = self.event(&delivery).await? else {
            let error = EffectError::permanent("the log does not have the event");
            return Ok(failed(error, delivery));
        };
        let effects = match self.performer.effects(&event).await? {
            Ok(effects) => effects,
            Err(error) => return Ok(failed(error, delivery)),
        };
        let limit = self.performer.parts.settings.further_try;
        if delivery.kind == EVENT {
            let open = self.performer.answer(&event, limit).await?;
            let done = true;
            return Ok(Tried { done, effect, open });
        }
        let Some(wanted) = effects.into_iter().find(|one| one.id == effect) else {
            self.performer.count(&delivery.kind, "pointless");
            let (done, open) = (true, Vec::new());
            return Ok(Tried { done, effect, open });
        };
        let setback = self.performer.attempt(&event, &wanted, &delivery, limit).await?;
        Ok(Tried {
            done: setback.is_none(),
            effect,
            open: setback.map(|setback| (delivery, setback)).into_iter().collect(),
        })
    }

    /// The event that `delivery` answers, as the log has it now.
    async fn event(&self, delivery: &Delivery) -> Result<Option<RecordedEvent>, RunError> {
        let store = &self.performer.parts.ports.store;
        let events = store.load(&delivery.stream, delivery.revision).await?;
        Ok(events
            .into_iter()
            .find(|event| event.position == delivery.position))
    }
}
