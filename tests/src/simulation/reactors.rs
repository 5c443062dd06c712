//! Reactors: two processes run all of them by turns, as a lease says, and either may crash or stall anywhere.
//!
//! The rule: what follows from an event is worked out by the real reactors and done by the real commands; checkpoint and
//! deliveries are written in one transaction that proves the lease, as in `workers::reactors::runner`.

mod invariants;
mod table;

use std::{cell::Cell, rc::Rc, time::Duration};

use domain::{
    authz::Principal,
    decision::{LoadedState, ReadSet},
    event_store::{Filter, Position, RecordedEvent, StoreError},
    execute::look,
    id::UserId,
    identity::{
        erasure::CompleteErasure, keys::IdentityKeys, reservation::ReservationKey, user::ErasureReceipt,
    },
    notifications::mail::Mail,
};
use uuid::Uuid;
use workers::reactors::{Act, AnyReactor, Call, Context, Effect, all};

use self::table::Delivery;
pub(super) use self::{
    invariants::{broken, open},
    table::ReactorTable,
};
use super::{
    PlantedDefect,
    environment::{Lost, SimulatedEnvironment},
    notes::TakenMail,
    process::{Answer, Process},
    yield_point::step,
};

/// Events per transaction.
const CHUNK: usize = 4;
/// Between two looks of an owner, and of who waits to be one.
const PACE: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_millis(500);

/// Why an owner begins anew.
#[derive(Debug)]
enum Pause {
    Store,
    Database,
    Deposed,
}

impl From<StoreError> for Pause {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl From<Lost> for Pause {
    fn from(_: Lost) -> Self {
        Self::Database
    }
}

/// The keys that people of the simulation know, too.
struct KnownKeys;

impl IdentityKeys for KnownKeys {
    fn reservation(&self, scope: &str, normalised: &str) -> ReservationKey {
        ReservationKey(format!("{scope}-{normalised}"))
    }

    fn verification_token(&self, user: UserId, _: Uuid, hash: &str) -> Option<String> {
        Some(format!("token-{user}")).filter(|token| token == hash)
    }
}

/// Runs the reactors until the run ends, whenever the lease is free.
pub(super) async fn react(
    environment: Rc<SimulatedEnvironment>,
    name: String,
    planted: Option<PlantedDefect>,
) {
    let owner = Owner {
        process: Process::start(&environment, &name),
        early: planted == Some(PlantedDefect::CheckpointBeforeEffects),
        looked: Cell::default(),
    };
    loop {
        match owner.own().await {
            Ok(()) => environment.tick(PACE).await,
            Err(pause) => {
                owner.process.say(&format!("pauses: {pause:?}"));
                environment.sleep(RETRY).await;
            }
        }
    }
}

struct Owner {
    process: Process,
    /// Planted: the checkpoint is saved before the effects are done.
    early: bool,
    /// How far the log was when the last reaction was begun.
    looked: Cell<Position>,
}

impl Owner {
    fn environment(&self) -> &Rc<SimulatedEnvironment> {
        &self.process.environment
    }

    /// Takes the lease if it is free, and runs the reactors as long as it holds.
    async fn own(&self) -> Result<(), Pause> {
        let now = self.environment().now();
        let taken = self
            .environment()
            .statement(|database| database.reactors.take(now))
            .await?;
        let Some(epoch) = taken else { return Ok(()) };
        self.process.say(&format!("runs the reactors, epoch {epoch}"));
        loop {
            for reactor in all() {
                self.answer(epoch, reactor.as_ref()).await?;
                self.try_again(epoch, reactor.as_ref()).await?;
            }
            self.environment().tick(PACE).await;
        }
    }

    /// Answers what is new for `reactor`.
    async fn answer(&self, epoch: u64, reactor: &dyn AnyReactor) -> Result<(), Pause> {
        let name = reactor.name();
        let mut reached = self
            .environment()
            .statement(|database| database.reactors.checkpoint(name))
            .await?;
        let filter = Filter {
            kind_prefixes: reactor.kinds().iter().map(|kind| (*kind).to_owned()).collect(),
            ..Filter::all()
        };
        let head = self.process.store().head().await?;
        while reached < head {
            let page = self.process.store().read_all(reached, &filter, 40).await?;
            for chunk in page.events.chunks(CHUNK) {
                let to = chunk.last().map_or(page.next, |event| event.position);
                if self.early {
                    self.finish(epoch, name, (reached, to), Vec::new()).await?;
                }
                let mut open = Vec::new();
                for event in chunk {
                    for effect in self.effects(reactor, event).await? {
                        open.extend(self.attempt(epoch, name, event, &effect, 0).await?);
                    }
                }
                if !self.early {
                    self.finish(epoch, name, (reached, to), open).await?;
                }
                reached = to;
            }
            if reached < page.next {
                self.finish(epoch, name, (reached, page.next), Vec::new()).await?;
                reached = page.next;
            }
        }
        Ok(())
    }

    async fn finish(
        &self,
        epoch: u64,
        name: &'static str,
        (from, to): (Position, Position),
        open: Vec<Delivery>,
    ) -> Result<(), Pause> {
        let now = self.environment().now();
        let written = move |database: &mut super::database::Database| {
            database.reactors.finish((epoch, now), name, (from, to), open)
        };
        match self.environment().statement(written).await? {
            true => Ok(()),
            false => Err(Pause::Deposed),
        }
    }

    /// Tries again what is due.
    async fn try_again(&self, epoch: u64, reactor: &dyn AnyReactor) -> Result<(), Pause> {
        let (name, now) = (reactor.name(), self.environment().now());
        for due in self
            .environment()
            .statement(|database| database.reactors.due(name, now))
            .await?
        {
            let events = self.process.store().load(&due.stream, due.revision).await?;
            let mut open = None;
            if let Some(event) = events.first() {
                let effects = self.effects(reactor, event).await?;
                if let Some(effect) = effects.iter().find(|effect| effect.id == due.effect) {
                    open = self.attempt(epoch, name, event, effect, due.attempts).await?;
                }
            }
            let (effect, now) = (due.effect, self.environment().now());
            let settled = move |database: &mut super::database::Database| {
                database.reactors.settle((epoch, now), (name, effect), open)
            };
            if !self.environment().statement(settled).await? {
                return Err(Pause::Deposed);
            }
        }
        Ok(())
    }

    /// What follows from `event`, by the real reactor on the log as it is now.
    async fn effects(&self, reactor: &dyn AnyReactor, event: &RecordedEvent) -> Result<Vec<Effect>, Pause> {
        let log = self.environment().store.recorded();
        self.looked
            .set(log.last().map(|event| event.position).unwrap_or_default());
        let now = domain::clock::Clock::now(self.environment().clock.as_ref());
        let keys = KnownKeys;
        let context = Context { now, keys: &keys };
        let reads = |loaded: &LoadedState, reads: &mut ReadSet| reactor.reads(event, loaded, &context, reads);
        let loaded = look(self.process.store(), reads)
            .await
            .map_err(|_| Pause::Store)?;
        let effects = reactor.react(event, &loaded, &context);
        Ok(effects.unwrap_or_else(|error| {
            let what = format!("{} cannot be reacted to: {error}", event.kind);
            self.environment().notes().violations.push(what);
            Vec::new()
        }))
    }

    /// Does an effect; what is to be tried again if it fails.
    async fn attempt(
        &self,
        epoch: u64,
        name: &'static str,
        event: &RecordedEvent,
        effect: &Effect,
        attempts: u32,
    ) -> Result<Option<Delivery>, Pause> {
        let now = self.environment().now();
        if let Some(wait) = self.early(effect) {
            return Ok(Some(Delivery {
                effect: effect.id,
                stream: event.stream.clone(),
                revision: event.revision,
                attempts,
                next_at: now + wait,
            }));
        }
        if !self
            .environment()
            .statement(|database| database.reactors.prove(epoch, now))
            .await?
        {
            return Err(Pause::Deposed);
        }
        step().await;
        let done = match &effect.act {
            Act::Mail(mail) => self.send(mail).await,
            Act::Command(command) => command
                .carry_out(self.process.ports(), name, effect.id, event)
                .await
                .is_ok(),
            Act::Call(Call::CompleteErasure(person)) => self.erase(*person).await,
        };
        step().await;
        self.process.say(&format!(
            "{name}: {} of {}: {done}",
            effect.act.kind(),
            event.position
        ));
        let wait = PACE * 2_u32.pow(attempts.min(3));
        Ok((!done).then(|| Delivery {
            effect: effect.id,
            stream: event.stream.clone(),
            revision: event.revision,
            attempts: attempts + 1,
            next_at: self.environment().now() + wait,
        }))
    }

    /// How long until an effect may be done, when that is not yet.
    fn early(&self, effect: &Effect) -> Option<Duration> {
        let now = domain::clock::Clock::now(self.environment().clock.as_ref());
        let left = Duration::try_from(effect.not_before? - now).ok();
        left.filter(|left| !left.is_zero())
    }

    /// Hands a mail over; it may be lost, or taken and not said so.
    async fn send(&self, mail: &Mail) -> bool {
        let environment = self.environment();
        let rate = environment.fault_rates.database;
        if environment.trouble(rate) {
            return false;
        }
        let decided = self.looked.get();
        environment.notes().mails.push(TakenMail {
            id: mail.id,
            person: mail.person,
            text: format!("{} {} {} {}", mail.to, mail.at, mail.subject, mail.body),
            decided,
        });
        step().await;
        !environment.trouble(rate)
    }

    async fn erase(&self, user: UserId) -> bool {
        let receipt = ErasureReceipt {
            key_id: None,
            key_made_at: None,
            destroyed_at: domain::clock::Clock::now(self.environment().clock.as_ref()),
            rebuilt: Vec::new(),
        };
        let command = CompleteErasure { user, receipt };
        self.process.run(&Principal::System("eraser"), &command).await == Answer::Done
    }
}
