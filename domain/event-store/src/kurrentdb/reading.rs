//! Reads that end: a stream, the log, or the last of either.
//!
//! The rule: an answer that a second try can bring is tried for until the deadline; what it means that something is
//! not there is the caller's to say.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    failure::{Backoff, Failure},
    nodes::Nodes,
    recorded::EVENTS_ONLY,
    wire::{
        AllOptions, Content, ControlOption, Empty, Expression, FilterOptions, LogPosition, ReadOptions,
        ReadReq, Recorded, StreamIdentifier, StreamOptions, UuidOption,
    },
};

/// `read_direction` from the first event to the last, and back.
const FORWARDS: i32 = 0;
const BACKWARDS: i32 = 1;

/// Reads of one process.
pub(super) struct Reading {
    pub(super) nodes: Arc<Nodes>,
    /// How long one read may take, with all its tries.
    pub(super) limit: Duration,
}

/// What is to be read, without how much of it.
#[derive(Clone)]
pub(super) struct ReadRequest(ReadOptions);

impl ReadRequest {
    fn new(direction: i32) -> Self {
        Self(ReadOptions {
            stream: None,
            all: None,
            read_direction: direction,
            resolve_links: false,
            count: None,
            subscription: None,
            filter: None,
            no_filter: Some(Empty {}),
            uuid_option: Some(UuidOption {
                string: Some(Empty {}),
            }),
            control_option: Some(ControlOption { compatibility: 1 }),
        })
    }

    fn of_stream(name: &str, direction: i32, mut place: StreamOptions) -> Self {
        let mut question = Self::new(direction);
        place.stream_identifier = Some(StreamIdentifier {
            stream_name: name.as_bytes().to_vec(),
        });
        question.0.stream = Some(place);
        question
    }

    /// The events of a stream from `revision` on.
    pub(super) fn stream_from(name: &str, revision: u64) -> Self {
        let place = StreamOptions {
            revision: Some(revision),
            ..StreamOptions::default()
        };
        Self::of_stream(name, FORWARDS, place)
    }

    /// The events of a stream, the last one first.
    pub(super) fn stream_backwards(name: &str) -> Self {
        let place = StreamOptions {
            end: Some(Empty {}),
            ..StreamOptions::default()
        };
        Self::of_stream(name, BACKWARDS, place)
    }

    /// The log from the record at `position` on; from its start, if that is 0.
    pub(super) fn log_from(position: u64) -> Self {
        let mut question = Self::new(FORWARDS);
        let begun = position > 0;
        question.0.all = Some(AllOptions {
            position: begun.then_some(LogPosition {
                commit_position: position,
                prepare_position: position,
            }),
            start: (!begun).then_some(Empty {}),
            end: None,
        });
        question
    }

    /// The log, the last record first.
    pub(super) fn log_backwards() -> Self {
        let mut question = Self::new(BACKWARDS);
        question.0.all = Some(AllOptions {
            end: Some(Empty {}),
            ..AllOptions::default()
        });
        question
    }

    /// Only events of ours.
    pub(super) fn ours(mut self) -> Self {
        self.0.no_filter = None;
        self.0.filter = Some(FilterOptions {
            event_type: Some(Expression {
                regex: EVENTS_ONLY.to_owned(),
                prefix: Vec::new(),
            }),
            count: Some(Empty {}),
            checkpoint_interval_multiplier: 1,
            ..FilterOptions::default()
        });
        self
    }

    fn at_most(&self, count: usize) -> ReadReq {
        let mut options = self.0.clone();
        options.count = Some(u64::try_from(count).unwrap_or(u64::MAX));
        ReadReq {
            options: Some(options),
        }
    }
}

impl Reading {
    /// The records that answer `question`, at most `most`, and only as many as fit into `bytes` of payload (but
    /// one at least). Nothing when there is no such stream.
    pub(super) async fn ask(
        &self,
        question: &ReadRequest,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<Recorded>, Failure> {
        let deadline = Instant::now() + self.limit;
        let mut backoff = Backoff::default();
        loop {
            let failure = match self.ask_once(question, most, bytes, deadline).await {
                Err(failure) if failure.passes() => failure,
                outcome => return outcome,
            };
            let pause = tokio::time::timeout_at(deadline, backoff.pause()).await;
            if pause.is_err() || Instant::now() >= deadline {
                let (limit, why) = (self.limit.as_secs_f32(), failure.into_store());
                let said = format!("KurrentDB did not answer within {limit} s: {why}");
                return Err(Failure::Passing(said));
            }
        }
    }

    async fn ask_once(
        &self,
        question: &ReadRequest,
        most: usize,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Vec<Recorded>, Failure> {
        let mut answers = self.nodes.read(question.at_most(most), deadline).await?;
        let (mut records, mut room) = (Vec::new(), bytes);
        while let Some(answer) = self.nodes.answer(&mut answers, deadline).await? {
            match answer.content {
                Some(Content::StreamNotFound(_)) => return Ok(Vec::new()),
                Some(Content::Event(read)) => {
                    let Some(record) = read.event else { continue };
                    if record.data.len() > room && !records.is_empty() {
                        return Ok(records);
                    }
                    room = room.saturating_sub(record.data.len());
                    records.push(record);
                }
                _ => {}
            }
        }
        Ok(records)
    }
}
