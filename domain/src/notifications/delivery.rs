//! Deliveries of a process manager that were given up, and that somebody wants tried again (NO-3).
//!
//! One rule: which deliveries are given up is no event. That is a table of the process that runs the reactors; the log
//! says who wanted which of them tried again.

use uuid::Uuid;

use crate::{
    aggregate::{Aggregate, event},
    authz::{Action, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
};

/// The kind under which a redrive is recorded.
pub const REDRIVEN: &str = "notifications.DeliveriesRedriven";

/// The deliveries of one reactor, by its name. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct Deliveries;

/// Facts about the deliveries of a reactor.
#[event(context = "notifications", subject = nobody)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// Deliveries that were given up are to be tried again.
    #[event(name = "DeliveriesRedriven")]
    Redriven {
        /// That one; all that are given up by then if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery: Option<Uuid>,
    },
}

impl Aggregate for Deliveries {
    const CATEGORY: &'static str = "notifications.deliveries";
    type Event = DeliveryEvent;
    fn evolve(&mut self, _: &DeliveryEvent) {}
}

/// Has deliveries of a reactor tried again that were given up. Takes `system.admin`. Each call is recorded; of those that
/// are not given up by then, nothing happens.
#[derive(Clone, Debug)]
pub struct RedriveDeliveries {
    /// The name of the reactor.
    pub reactor: String,
    /// One of them; all if `None`.
    pub delivery: Option<Uuid>,
}

/// Redriving is never refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedriveRefusal {}

impl Command for RedriveDeliveries {
    type Refusal = RedriveRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Deliveries>(&self.reactor);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::one(Action::SystemAdmin, Resource::kind("system"))
    }

    fn decide(&self, _: &LoadedState, _: &Context<'_>) -> Decision<RedriveRefusal> {
        let delivery = self.delivery;
        let redriven = DeliveryEvent::Redriven { delivery };
        Ok(NewEvents::record::<Deliveries>(&self.reactor, &redriven))
    }
}
