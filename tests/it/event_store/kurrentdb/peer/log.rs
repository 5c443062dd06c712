//! The records of the peer.
//!
//! The rule: positions ascend with gaps, times never run backwards.

use domain::{
    clock::{Clock, SystemClock},
    id::{Ids, SystemIds},
};
use uuid::Uuid;

/// From one position to the next.
const STEP: u64 = 10;

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: Uuid,
    pub(crate) stream: String,
    pub(crate) revision: u64,
    pub(crate) position: u64,
    pub(crate) kind: String,
    /// In 100 ns since 1970.
    pub(crate) created: i128,
    pub(crate) metadata: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// All records, in order.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    by_stream: std::collections::HashMap<String, Vec<usize>>,
    now: i128,
}

impl Log {
    /// The records of one stream.
    pub(crate) fn stream(&self, name: &str) -> impl DoubleEndedIterator<Item = &Record> {
        let places = self.by_stream.get(name).map_or(&[][..], Vec::as_slice);
        places.iter().map(|place| &self.records[*place])
    }

    /// The last revision of a stream, or -1.
    pub(crate) fn state(&self, name: &str) -> i64 {
        self.stream(name)
            .next_back()
            .map_or(-1, |record| i64::try_from(record.revision).expect("few records"))
    }

    /// Takes the time for the records that follow.
    pub(crate) fn tick(&mut self) {
        self.now = self.now.max(SystemClock.now().unix_timestamp_nanos() / 100);
    }

    /// Adds a record.
    pub(crate) fn push(
        &mut self,
        id: Option<Uuid>,
        stream: &str,
        kind: &str,
        metadata: Vec<u8>,
        data: Vec<u8>,
    ) {
        let record = Record {
            id: id.unwrap_or_else(|| SystemIds.next()),
            stream: stream.to_owned(),
            revision: u64::try_from(self.state(stream) + 1).expect("not negative"),
            position: (self.records.len() as u64 + 1) * STEP,
            kind: kind.to_owned(),
            created: self.now,
            metadata,
            data,
        };
        let place = self.records.len();
        self.by_stream.entry(stream.to_owned()).or_default().push(place);
        self.records.push(record);
    }
}
