//! One reactor and its effects: what the log says, what follows, and doing it.
//!
//! One rule: an effect is worked out anew for each try, from the event and from the log as it is then; what has become
//! pointless meanwhile is not done.

use std::{future::Future, sync::Arc, time::Duration};

use domain::{
    aggregate::{LoadError, load},
    decision::{LoadedState, ReadSet},
    event_store::RecordedEvent,
    execute::look,
    identity::user::User,
    notifications::mail::Mail,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use super::{
    Called, Parts, RunError,
    ownership::Ownership,
    table::{Delivery, Setback},
};
use crate::reactors::{Act, AnyReactor, Context, Effect, EffectError, ReactError, effect_id};

/// What the kind of a delivery is whose event could not be read: all of its effects are open.
pub(super) const EVENT: &str = "event";

/// Why an effect waits that nobody has tried yet.
pub const NOT_DUE: &str = "its time has not come";

/// Effects of one reactor that are tried at the same time.
const TOGETHER: usize = 8;

/// A reactor with what its effects are done by.
#[derive(Clone)]
pub(super) struct Performer {
    pub(super) parts: Arc<Parts>,
    pub(super) reactor: Arc<dyn AnyReactor>,
    pub(super) ownership: Arc<Ownership>,
}

/// How a try ended.
enum Tried {
    Done,
    UnderWay,
    Failed(EffectError),
}

impl Performer {
    /// What is to be done about `event` now.
    pub(super) async fn effects(
        &self,
        event: &RecordedEvent,
    ) -> Result<Result<Vec<Effect>, EffectError>, RunError> {
        let context = Context {
            now: self.parts.ports.clock.now(),
            keys: self.parts.keys.as_ref(),
        };
        let reads = |loaded: &LoadedState, reads: &mut ReadSet| {
            self.reactor.reads(event, loaded, &context, reads);
        };
        let loaded = match look(self.parts.ports.store.as_ref(), reads).await {
            Ok(loaded) => loaded,
            Err(LoadError::Decode(error)) => return Ok(Err(self.unreadable(event, &error.into()))),
            Err(LoadError::Store(error)) => return Err(error.into()),
        };
        let effects = self.reactor.react(event, &loaded, &context);
        Ok(effects.map_err(|error| self.unreadable(event, &error)))
    }

    fn unreadable(&self, event: &RecordedEvent, error: &ReactError) -> EffectError {
        let (reactor, position) = (self.reactor.name(), event.position.0);
        tracing::warn!(reactor, position, %error, "an event cannot be reacted to, trying again");
        match error {
            ReactError::Decode(_) => {
                EffectError::passing("this build cannot read the event or what it leads to: run a newer one")
            }
            ReactError::Impossible(reason) => EffectError::passing(reason),
        }
    }

    /// Does everything that follows from `event`, and tells what is not done.
    pub(super) async fn answer(
        &self,
        event: &RecordedEvent,
        limit: Duration,
    ) -> Result<Vec<(Delivery, Setback)>, RunError> {
        let effects = match self.effects(event).await? {
            Ok(effects) => effects,
            Err(error) => {
                let effect = effect_id(event, self.reactor.name(), EVENT);
                let delivery = Delivery::of(event, effect, EVENT, None);
                let setback = self.setback(&delivery, error, true);
                return Ok(vec![(delivery, setback)]);
            }
        };
        let mut open = Vec::new();
        for effect in effects {
            let recipient = effect.recipient.map(|person| person.to_string());
            let delivery = Delivery::of(event, effect.id, effect.act.kind(), recipient);
            let setback = self.attempt(event, &effect, &delivery, limit).await?;
            open.extend(setback.map(|setback| (delivery, setback)));
        }
        Ok(open)
    }

    /// Retries `effect` once; `None` when it is done.
    pub(super) async fn attempt(
        &self,
        event: &RecordedEvent,
        effect: &Effect,
        delivery: &Delivery,
        limit: Duration,
    ) -> Result<Option<Setback>, RunError> {
        if let Some(wait) = self.early(effect) {
            return Ok(Some(Setback {
                attempts: delivery.attempts,
                reason: NOT_DUE,
                wait: Some(wait),
            }));
        }
        // Who was stopped for longer than the lease is not the owner any more, and learns it here.
        self.ownership.check()?;
        fail::fail_point!("reactor.before_effect");
        let tried = match timeout(limit, self.act(event, effect)).await {
            Ok(tried) => tried,
            Err(_) => Tried::Failed(EffectError::passing("it was not done in time")),
        };
        Ok(match tried {
            Tried::Done => {
                fail::fail_point!("reactor.effect_done");
                self.count(effect.act.kind(), "done");
                None
            }
            Tried::UnderWay => Some(Setback {
                attempts: delivery.attempts,
                reason: "it is under way",
                wait: Some(self.parts.settings.under_way),
            }),
            Tried::Failed(error) => Some(self.setback(delivery, error, effect.gives_up)),
        })
    }

    /// How long until `effect` may be done, when that is not yet.
    fn early(&self, effect: &Effect) -> Option<Duration> {
        let left = effect.not_before? - self.parts.ports.clock.now();
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }

    async fn act(&self, event: &RecordedEvent, effect: &Effect) -> Tried {
        let parts = &self.parts;
        let done = |done: Result<(), EffectError>| done.map_or_else(Tried::Failed, |()| Tried::Done);
        match &effect.act {
            Act::Command(command) => {
                let name = self.reactor.name();
                done(command.carry_out(&parts.ports, name, effect.id, event).await)
            }
            Act::Mail(mail) => done(self.send(mail).await),
            Act::Call(call) => match parts.calls.call(*call).await {
                Ok(Called::Done) => Tried::Done,
                Ok(Called::UnderWay) => Tried::UnderWay,
                Err(error) => Tried::Failed(error),
            },
        }
    }

    /// Hands a mail over. Whoever was erased while it was on its way has it taken back, as far as it is still here.
    async fn send(&self, mail: &Mail) -> Result<(), EffectError> {
        let mailed = |error: domain::notifications::mail::MailError| EffectError {
            reason: error.reason,
            permanent: error.permanent,
        };
        self.parts.mailer.send(mail).await.map_err(mailed)?;
        let person = load::<User>(self.parts.ports.store.as_ref(), mail.person).await;
        let person = person.map_err(|_| EffectError::passing("the event store failed"))?;
        if person.state.erased {
            self.parts.mailer.forget(mail.person).await.map_err(mailed)?;
        }
        Ok(())
    }

    /// What a failure comes to.
    pub(super) fn setback(&self, delivery: &Delivery, error: EffectError, gives_up: bool) -> Setback {
        let attempts = delivery.attempts.saturating_add(1);
        let settings = &self.parts.settings;
        let dead = gives_up && (error.permanent || attempts >= settings.attempts);
        let (reactor, position, reason) = (self.reactor.name(), delivery.position.0, error.reason);
        let (kind, effect) = (delivery.kind.as_str(), delivery.effect);
        if dead {
            tracing::error!(reactor, position, %effect, kind, attempts, reason, "an effect was given up");
        } else {
            tracing::warn!(reactor, position, %effect, kind, attempts, reason, "an effect failed, trying again");
        }
        self.count(kind, if dead { "dead" } else { "failed" });
        Setback {
            attempts,
            reason,
            wait: (!dead).then(|| settings.wait(effect, attempts)),
        }
    }

    pub(super) fn count(&self, kind: &str, outcome: &'static str) {
        let (reactor, kind) = (self.reactor.name(), kind.to_owned());
        metrics::counter!("reactor_effects_total", "reactor" => reactor, "kind" => kind, "outcome" => outcome)
            .increment(1);
    }
}

/// Does all of `work`, eight at the same time.
pub(super) async fn together<T>(
    work: Vec<impl Future<Output = Result<T, RunError>>>,
) -> Result<Vec<T>, RunError> {
    let done = futures::stream::iter(work).buffer_unordered(TOGETHER);
    done.try_collect().await
}
