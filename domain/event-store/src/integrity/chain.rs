//! The hash chain over the log: what each link covers, and how a log is checked against it.
//!
//! The rule: a link is a function of recorded bytes only, so that anybody with an export of the log and this
//! page can verify it. All integers are big-endian, `‖` joins bytes, text is UTF-8, `H` is SHA-256
//! (FIPS 180-4), `len(x)` is the length of `x` in bytes as 4 bytes.
//!
//! ```text
//! link 0 = H("anneal event log 1" ‖ store id, 16 bytes)
//! link n = H(01                      1 byte: version of this layout
//!          ‖ link n-1               32
//!          ‖ position                8  (n: positions are gapless from 1)
//!          ‖ event id               16
//!          ‖ len(stream) ‖ stream
//!          ‖ revision                8
//!          ‖ len(kind) ‖ kind
//!          ‖ schema version          2
//!          ‖ time                    8  (signed microseconds since 1970-01-01 UTC)
//!          ‖ H(data)                32
//!          ‖ H(meta)                32)
//! ```
//!
//! Data and metadata are covered through their own hashes, so an erased payload leaves the chain whole.

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Fault;

/// A SHA-256 hash.
pub type Digest = [u8; 32];

/// The version of the layout above.
pub const LAYOUT: u8 = 1;

/// SHA-256 of `bytes`.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// The link before the first event of the log `store_id`.
#[must_use]
pub fn genesis(store_id: Uuid) -> Digest {
    Sha256::new()
        .chain_update("anneal event log 1")
        .chain_update(store_id.as_bytes())
        .finalize()
        .into()
}

/// Microseconds since 1970-01-01 UTC: the precision that the log keeps.
#[must_use]
pub fn micros(at: OffsetDateTime) -> i64 {
    // A date of `time` lies within ±9999 years, which is 58 bits of microseconds.
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX)
}

/// What one link covers, besides the link before it.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Place in the log, from 1.
    pub position: u64,
    /// The event's id.
    pub id: Uuid,
    /// Name of its stream.
    pub stream: &'a str,
    /// Place in the stream, from 0.
    pub revision: u64,
    /// The event's kind.
    pub kind: &'a str,
    /// Version of its schema.
    pub schema_version: u16,
    /// When it was recorded; microseconds count, anything finer is ignored.
    pub at: OffsetDateTime,
    /// SHA-256 of the payload.
    pub data_hash: &'a Digest,
    /// SHA-256 of the metadata.
    pub meta_hash: &'a Digest,
}

impl Link<'_> {
    /// The link itself, following `previous`.
    #[must_use]
    pub fn after(&self, previous: &Digest) -> Digest {
        let mut hash = Sha256::new();
        hash.update([LAYOUT]);
        hash.update(previous);
        hash.update(self.position.to_be_bytes());
        hash.update(self.id.as_bytes());
        update_text(&mut hash, self.stream);
        hash.update(self.revision.to_be_bytes());
        update_text(&mut hash, self.kind);
        hash.update(self.schema_version.to_be_bytes());
        hash.update(micros(self.at).to_be_bytes());
        hash.update(self.data_hash);
        hash.update(self.meta_hash);
        hash.finalize().into()
    }
}

fn update_text(hash: &mut Sha256, text: &str) {
    // Stores bound names far below 4 GiB; a longer one could not have been recorded.
    hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(text.as_bytes());
}

/// An event as it lies in a store, with the hashes that the store claims for it.
#[derive(Clone, Debug)]
pub struct ChainedEvent {
    /// Place in the log.
    pub position: u64,
    /// The event's id.
    pub id: Uuid,
    /// Name of its stream.
    pub stream: String,
    /// Place in the stream.
    pub revision: u64,
    /// The event's kind.
    pub kind: String,
    /// Version of its schema.
    pub schema_version: u16,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// The payload's bytes.
    pub data: String,
    /// The metadata's bytes.
    pub meta: String,
    /// What the store says is the payload's hash.
    pub data_hash: Digest,
    /// What the store says is this event's link.
    pub hash: Digest,
}

/// What is hashed of an event's payload and metadata; both chain and tree are built on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prints {
    /// SHA-256 of the payload.
    pub data: Digest,
    /// SHA-256 of the metadata.
    pub meta: Digest,
}

impl ChainedEvent {
    /// Hashes payload and metadata as they lie in the store.
    #[must_use]
    pub fn prints(&self) -> Prints {
        Prints {
            data: digest(self.data.as_bytes()),
            meta: digest(self.meta.as_bytes()),
        }
    }

    /// What its link covers besides the link before it.
    #[must_use]
    pub fn link<'a>(&'a self, prints: &'a Prints) -> Link<'a> {
        Link {
            position: self.position,
            id: self.id,
            stream: &self.stream,
            revision: self.revision,
            kind: &self.kind,
            schema_version: self.schema_version,
            at: self.at,
            data_hash: &prints.data,
            meta_hash: &prints.meta,
        }
    }
}

/// How far a log has been verified: its last position, link and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Position of the last event; 0 when there is none.
    pub position: u64,
    /// Its link.
    pub hash: Digest,
    /// Its time.
    pub at: OffsetDateTime,
}

impl Tip {
    /// Before the first event of the log `store_id`.
    #[must_use]
    pub fn genesis(store_id: Uuid) -> Self {
        Self {
            position: 0,
            hash: genesis(store_id),
            at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Moves over `event`, which must be the next one.
    ///
    /// # Errors
    /// [`Fault`] with the position at which the log is not what was recorded.
    pub fn advance(&mut self, event: &ChainedEvent) -> Result<(), Fault> {
        self.advance_with(event, &event.prints())
    }

    /// As [`Tip::advance`], with the hashes of the event's bytes already at hand.
    ///
    /// # Errors
    /// As there.
    pub fn advance_with(&mut self, event: &ChainedEvent, prints: &Prints) -> Result<(), Fault> {
        let expected = self.position + 1;
        if event.position != expected {
            return Err(Fault::Gap {
                expected,
                found: event.position,
            });
        }
        if prints.data != event.data_hash {
            return Err(Fault::Payload { position: expected });
        }
        if event.link(prints).after(&self.hash) != event.hash {
            return Err(Fault::Link { position: expected });
        }
        if event.at < self.at {
            return Err(Fault::Time { position: expected });
        }
        *self = Self {
            position: expected,
            hash: event.hash,
            at: event.at,
        };
        Ok(())
    }
}

/// Checks `events` as the continuation of `tip` and returns the tip after them.
///
/// # Errors
/// The first [`Fault`]; everything before its position is as recorded.
pub fn verify(mut tip: Tip, events: impl IntoIterator<Item = ChainedEvent>) -> Result<Tip, Fault> {
    for event in events {
        tip.advance(&event)?;
    }
    Ok(tip)
}

#[cfg(test)]
mod tests {
    use super::{ChainedEvent, Digest, Fault, Link, Tip, digest, verify};
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    const STORE: Uuid = Uuid::from_u128(42);

    fn log(length: u64) -> Vec<ChainedEvent> {
        let mut previous = Tip::genesis(STORE).hash;
        (1..=length)
            .map(|position| {
                let mut event = ChainedEvent {
                    position,
                    id: Uuid::from_u128(position.into()),
                    stream: "test.counter-a".to_owned(),
                    revision: position - 1,
                    kind: "test.Counted".to_owned(),
                    schema_version: 1,
                    at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(1),
                    data: format!(r#"{{"count": {position}}}"#),
                    meta: r#"{"actor":"user:1"}"#.to_owned(),
                    data_hash: [0; 32],
                    hash: [0; 32],
                };
                event.data_hash = digest(event.data.as_bytes());
                event.hash = link(&event).after(&previous);
                previous = event.hash;
                event
            })
            .collect()
    }

    fn link(event: &ChainedEvent) -> Link<'_> {
        let meta: &'static Digest = Box::leak(Box::new(digest(event.meta.as_bytes())));
        Link {
            position: event.position,
            id: event.id,
            stream: &event.stream,
            revision: event.revision,
            kind: &event.kind,
            schema_version: event.schema_version,
            at: event.at,
            data_hash: &event.data_hash,
            meta_hash: meta,
        }
    }

    fn check(events: Vec<ChainedEvent>) -> Result<Tip, Fault> {
        verify(Tip::genesis(STORE), events)
    }

    /// The layout is a promise to outsiders: computed once with another implementation (Python's hashlib).
    #[test]
    fn the_layout_never_changes() {
        let events = log(1);
        assert_eq!(hex::encode(Tip::genesis(STORE).hash), GENESIS);
        assert_eq!(hex::encode(events[0].hash), FIRST_LINK);
    }
    const GENESIS: &str = "caee3bac387a61eba6a357a9cb40c87991f19e0048254fe5845f03a665fc2fa6";
    const FIRST_LINK: &str = "b971ee08c966ba9c91e46627fdf8036f4881748e61047b0d708afdeed40c8122";

    #[test]
    fn an_untouched_log_verifies_to_its_last_link() {
        let events = log(5);
        let last = events[4].hash;
        assert_eq!(check(events).map(|tip| (tip.position, tip.hash)), Ok((5, last)));
    }

    #[test]
    fn a_log_of_another_store_is_refused_at_its_first_event() {
        assert_eq!(
            verify(Tip::genesis(Uuid::nil()), log(3)),
            Err(Fault::Link { position: 1 })
        );
    }

    #[test]
    fn every_changed_field_is_found_at_its_position() {
        let changes: [fn(&mut ChainedEvent); 7] = [
            |event| event.id = Uuid::nil(),
            |event| event.stream.push('x'),
            |event| event.revision += 1,
            |event| event.kind.push('x'),
            |event| event.schema_version += 1,
            |event| event.at += Duration::microseconds(1),
            |event| event.meta.push(' '),
        ];
        for change in changes {
            let mut events = log(4);
            change(&mut events[2]);
            assert_eq!(check(events), Err(Fault::Link { position: 3 }));
        }
        let mut events = log(4);
        events[1].data.push(' ');
        assert_eq!(check(events), Err(Fault::Payload { position: 2 }));
    }

    #[test]
    fn a_rewritten_payload_with_a_fitting_hash_breaks_the_link() {
        let mut events = log(4);
        events[1].data.push(' ');
        events[1].data_hash = digest(events[1].data.as_bytes());
        assert_eq!(check(events), Err(Fault::Link { position: 2 }));
    }

    #[test]
    fn a_removed_event_leaves_a_gap() {
        let mut events = log(4);
        events.remove(1);
        assert_eq!(
            check(events),
            Err(Fault::Gap {
                expected: 2,
                found: 3
            })
        );
    }

    #[test]
    fn text_cannot_move_from_one_field_to_the_next() {
        let mut events = log(1);
        events[0].stream = "test.counter-at".to_owned();
        events[0].kind = "est.Counted".to_owned();
        assert_eq!(check(events), Err(Fault::Link { position: 1 }));
    }
}
