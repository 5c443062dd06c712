//! The record of denials, of commands and of reads.
//!
//! One rule: an actor's denials are recorded once per action, resource and hour, at most so many an hour, and counted
//! beyond ([`crate::bounded`]); so refusals cannot fill the log.

use super::{ExecuteError, Ports, record_events};
use crate::{
    authz::{
        Denied,
        denial::{DenialEvent, Denials},
    },
    bounded::Kind,
    decision::NewEvents,
    event_store::Metadata,
};

/// Records or counts what `actor` was denied. Idempotent within the hour.
///
/// # Errors
/// When it could not be recorded; it is counted then.
pub async fn record_denial<R>(
    ports: &Ports,
    actor: &str,
    meta: &Metadata,
    denied: &Denied,
) -> Result<(), ExecuteError<R>> {
    let matter = format!("{} {}", denied.action.name(), denied.resource);
    let claimed = ports
        .bounded
        .claim(Kind::Denial, actor, &matter, ports.clock.now());
    let Some(claimed) = claimed else {
        return Ok(());
    };
    let event = DenialEvent::PermissionDenied {
        action: denied.action.name().to_owned(),
        resource: denied.resource.clone(),
        rule: denied.rule.to_owned(),
    };
    let mut new_events = NewEvents::record::<Denials>(actor, &event);
    if let Some(count) = claimed.before() {
        new_events = new_events.and::<Denials>(actor, &DenialEvent::LeftOut(count));
    }
    record_events(ports, meta, new_events).await?;
    claimed.done();
    Ok(())
}
