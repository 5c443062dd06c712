//! What follows from events of datasets: room that an upload left behind is given back.
//!
//! One rule: a reservation that was extended or released meanwhile is none of this one's business.

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    aggregate::decode,
    datasets::upload::ReleaseUpload,
    decision::{LoadedState, ReadSet},
    event_store::RecordedEvent,
    id::{UploadId, UserId},
};

use super::{Act, CommandEffect, Context, Effect, ReactError, Reactor, effect_id};

/// Gives back the room of uploads that ended with their process (DS-3): an upload releases what it does not need, unless
/// nobody is left to do it.
pub struct Uploads;

impl Reactor for Uploads {
    const NAME: &'static str = "datasets.uploads";
    const KINDS: &'static [&'static str] = &["access.StorageReserved"];

    fn reads(event: &RecordedEvent, _: &LoadedState, _: &Context<'_>, reads: &mut ReadSet) {
        if let Ok(owner) = owner(event) {
            reads.read::<QuotaLedger>(owner);
        }
    }

    fn react(
        event: &RecordedEvent,
        loaded: &LoadedState,
        _: &Context<'_>,
    ) -> Result<Vec<Effect>, ReactError> {
        let owner = owner(event)?;
        let LedgerEvent::StorageReserved { until, item, .. } = decode(event)? else {
            return Ok(Vec::new());
        };
        let ledger: QuotaLedger = loaded.get(owner);
        if ledger.reserved_until(&item) != Some(until) {
            return Ok(Vec::new());
        }
        // Room for an import is released by whatever ends its job.
        let Ok(upload) = item.parse::<UploadId>() else {
            return Ok(Vec::new());
        };
        let command = ReleaseUpload {
            owner,
            upload,
            lapsed: Some(until),
        };
        Ok(vec![Effect {
            id: effect_id(event, Self::NAME, "release"),
            recipient: Some(owner),
            act: Act::Command(CommandEffect::by_system(command)),
            gives_up: true,
            not_before: Some(until),
        }])
    }
}

/// The account whose ledger the event is in.
fn owner(event: &RecordedEvent) -> Result<UserId, ReactError> {
    let owner = event.stream.key().parse();
    owner.map_err(|_| ReactError::Impossible("the event is in no ledger of an account"))
}
