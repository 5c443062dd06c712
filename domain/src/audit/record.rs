//! Recording of reads, refused tokens and counts of what was left out.
//!
//! One rule: bounded like denials ([`crate::bounded`]); a count that could not be recorded is put back.

use std::convert::Infallible;

use super::sensitive_read::{ReadEvent, SensitiveReads};
use crate::{
    authz::denial::{DenialEvent, Denials},
    bounded::{Kind, LeftOut},
    decision::NewEvents,
    event_store::Metadata,
    execute::{ExecuteError, Ports, record_events},
    id::UserId,
    identity::{
        login::{LoginAttempts, LoginEvent},
        tokens::{RefusedTokens, TokenEvent, TokenKind},
    },
};

/// Whose streams counts go to that belong to no account.
const NOBODY: &str = "left_out";

/// A look at what belongs to others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// At one thing, by its id.
    Thing(String),
    /// At a list with everybody's, by the list's name.
    List(String),
}

impl Look {
    fn matter(&self) -> &str {
        match self {
            Self::Thing(name) | Self::List(name) => name,
        }
    }

    fn event(&self) -> ReadEvent {
        match self {
            Self::Thing(thing) => ReadEvent::OthersThingRead { thing: thing.clone() },
            Self::List(things) => ReadEvent::OthersThingsListed {
                things: things.clone(),
            },
        }
    }
}

/// Records those of `looks` that `actor` has not had within the hour, in one append. Answer the read afterwards.
///
/// # Errors
/// When they could not be recorded: then the read must not be answered.
pub async fn record_looks(
    ports: &Ports,
    actor: &str,
    meta: &Metadata,
    looks: &[Look],
) -> Result<(), ExecuteError<Infallible>> {
    let now = ports.clock.now();
    let mut fresh: Vec<&Look> = looks.iter().collect();
    fresh.sort_unstable();
    fresh.dedup();
    fresh.retain(|look| !ports.bounded.is_recorded(actor, look.matter(), now));
    let new_events = fresh.iter().fold(NewEvents::none(), |new_events, look| {
        new_events.and::<SensitiveReads>(actor, &look.event())
    });
    if new_events.is_empty() {
        return Ok(());
    }
    record_events(ports, meta, new_events).await?;
    for look in fresh {
        ports.bounded.recorded(actor, look.matter(), now);
    }
    Ok(())
}

/// Records or counts a token that is not good, presented from `address`. `matter` tells it apart from others of that
/// address, without a secret in it.
///
/// # Errors
/// When it could not be recorded; it is counted then.
pub async fn record_refused_token(
    ports: &Ports,
    meta: &Metadata,
    address: &str,
    token: TokenKind,
    user: Option<UserId>,
) -> Result<(), ExecuteError<Infallible>> {
    let named = user.map(|user| user.to_string()).unwrap_or_default();
    let matter = format!("{} {named}", token.name());
    let claimed = ports
        .bounded
        .claim(Kind::Token, address, &matter, ports.clock.now());
    let Some(claimed) = claimed else {
        return Ok(());
    };
    let event = TokenEvent::Refused {
        token: token.name().to_owned(),
        user,
    };
    let mut new_events = NewEvents::record::<RefusedTokens>(token.name(), &event);
    if let Some(count) = claimed.before() {
        new_events = new_events.and::<RefusedTokens>(NOBODY, &TokenEvent::LeftOut(count));
    }
    record_events(ports, meta, new_events).await?;
    claimed.done();
    Ok(())
}

/// Records the counts that are an hour old, or all of them when the process ends. Call it about once a minute.
///
/// # Errors
/// When they could not be recorded; they are kept for the next time.
pub async fn record_left_out(ports: &Ports, all: bool) -> Result<(), ExecuteError<Infallible>> {
    let meta = Metadata {
        actor: "system:recording".to_owned(),
        ..Metadata::default()
    };
    let mut counts = PutBack {
        ports,
        left: ports.bounded.over(ports.clock.now(), all),
    };
    // Not one append for all: an append is bounded too.
    while let Some(left_out) = counts.left.last() {
        record_events(ports, &meta, count_of(left_out)).await?;
        counts.left.pop();
    }
    Ok(())
}

/// Counts that were taken out; those that are not recorded go back, whatever happens.
struct PutBack<'a> {
    ports: &'a Ports,
    left: Vec<LeftOut>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        let now = self.ports.clock.now();
        for left_out in &self.left {
            self.ports.bounded.put_back(left_out, now);
        }
    }
}

fn count_of(left_out: &LeftOut) -> NewEvents {
    let count = left_out.count;
    match left_out.kind {
        Kind::Denial => NewEvents::record::<Denials>(&left_out.actor, &DenialEvent::LeftOut(count)),
        Kind::Read => NewEvents::record::<SensitiveReads>(&left_out.actor, &ReadEvent::LeftOut(count)),
        Kind::Token => NewEvents::record::<RefusedTokens>(NOBODY, &TokenEvent::LeftOut(count)),
        Kind::Locked => NewEvents::record::<LoginAttempts>(NOBODY, &LoginEvent::LeftOut(count)),
    }
}
