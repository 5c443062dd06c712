//! What can be wrong with a log.
//!
//! One rule: a fault names the first position that is not what was recorded, or the narrowest stretch in which
//! it lies, and nothing before that is in doubt.

/// A place where a log is not what was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Events are missing, doubled or out of order.
    #[error("position {expected} is missing: the next event found is {found}")]
    Gap {
        /// The position that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The payload is not the one that was hashed.
    #[error("the payload of event {position} was changed after it was recorded")]
    Payload {
        /// The event.
        position: u64,
    },
    /// Something else of the event, or an event before it, is not what was hashed.
    #[error("event {position} was changed after it was recorded, or does not follow the event before it")]
    Link {
        /// The event.
        position: u64,
    },
    /// Time runs backwards.
    #[error("event {position} is older than the event before it")]
    Time {
        /// The event.
        position: u64,
    },
    /// The log ends elsewhere than its head says.
    #[error("the log ends at {found}, but its head says {expected}, or another link")]
    Head {
        /// Position of the head.
        expected: u64,
        /// Position of the last event.
        found: u64,
    },
    /// The chain fits, but the event is not the one that the tree was built over.
    #[error(
        "event {position} is not the one that was committed: it was altered or inserted, or events before it \
         were removed, and the hash chain was computed anew to hide it"
    )]
    Committed {
        /// The first such event.
        position: u64,
    },
    /// Chain and stored tree fit each other, but not what was signed.
    #[error(
        "something in events {} to {until} is not what was signed: chain and tree were computed anew to hide \
         it; the last checkpoint that fits is that of {after} events", after + 1
    )]
    Between {
        /// Size of the last checkpoint that fits; 0 when none does.
        after: u64,
        /// Size of the first that does not.
        until: u64,
    },
    /// The log ends before a signed checkpoint does.
    #[error(
        "the log ends at {found}, but a signed checkpoint covers {signed} events: some after {proved} were \
         removed; up to there a signed checkpoint fits"
    )]
    Truncated {
        /// Size of the largest signed checkpoint.
        signed: u64,
        /// The last event that there is.
        found: u64,
        /// The size of the last signed checkpoint that fits what is there.
        proved: u64,
    },
    /// A stored part of the tree is missing or not what the events give, while events and checkpoints fit.
    #[error(
        "the stored tree is wrong (level {level}, tile {index}): its hashes were changed or are missing, while \
         the events are those that were signed"
    )]
    Tile {
        /// Level of the tile, from 0.
        level: u8,
        /// Its place in the level, from 0.
        index: u64,
    },
    /// A checkpoint that does not count.
    #[error("the checkpoint of {size} events {place} {why}")]
    Checkpoint {
        /// Its size.
        size: u64,
        /// Where it lies, as words.
        place: &'static str,
        /// What is wrong with it.
        why: String,
    },
}
