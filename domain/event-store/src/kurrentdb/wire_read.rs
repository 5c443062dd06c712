//! The messages of `event_store.client.streams.Streams/Read`, by which events are read and followed.
//!
//! The rule: as in [`super::wire`].

use std::collections::BTreeMap;

use super::wire::Empty;

/// What is to be read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadReq {
    /// Always there.
    #[prost(message, optional, tag = "1")]
    pub options: Option<ReadOptions>,
}

/// `ReadReq.Options`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadOptions {
    /// One stream …
    #[prost(message, optional, tag = "1")]
    pub stream: Option<StreamOptions>,
    /// … or the whole log.
    #[prost(message, optional, tag = "2")]
    pub all: Option<AllOptions>,
    /// 0 forwards, 1 backwards.
    #[prost(int32, tag = "3")]
    pub read_direction: i32,
    /// Whether links are followed.
    #[prost(bool, tag = "4")]
    pub resolve_links: bool,
    /// So many events …
    #[prost(uint64, optional, tag = "5")]
    pub count: Option<u64>,
    /// … or for ever.
    #[prost(message, optional, tag = "6")]
    pub subscription: Option<Empty>,
    /// Some of them …
    #[prost(message, optional, tag = "7")]
    pub filter: Option<FilterOptions>,
    /// … or all.
    #[prost(message, optional, tag = "8")]
    pub no_filter: Option<Empty>,
    /// How ids are to be written.
    #[prost(message, optional, tag = "9")]
    pub uuid_option: Option<UuidOption>,
    /// Which additions to the protocol the reader knows.
    #[prost(message, optional, tag = "10")]
    pub control_option: Option<ControlOption>,
}

/// `ReadReq.Options.ControlOption`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ControlOption {
    /// 1: the reader knows what came after the first version.
    #[prost(uint32, tag = "1")]
    pub compatibility: u32,
}

/// Where in a stream to begin. Exactly one of the three.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamOptions {
    /// Which stream.
    #[prost(message, optional, tag = "1")]
    pub stream_identifier: Option<StreamIdentifier>,
    /// At this revision.
    #[prost(uint64, optional, tag = "2")]
    pub revision: Option<u64>,
    /// At the first event.
    #[prost(message, optional, tag = "3")]
    pub start: Option<Empty>,
    /// At the last event.
    #[prost(message, optional, tag = "4")]
    pub end: Option<Empty>,
}

/// Where in the log to begin. Exactly one of the three.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AllOptions {
    /// At this position; a subscription begins after it.
    #[prost(message, optional, tag = "1")]
    pub position: Option<LogPosition>,
    /// At the first event.
    #[prost(message, optional, tag = "2")]
    pub start: Option<Empty>,
    /// At the last event.
    #[prost(message, optional, tag = "3")]
    pub end: Option<Empty>,
}

/// A position in the log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LogPosition {
    /// Of the commit.
    #[prost(uint64, tag = "1")]
    pub commit_position: u64,
    /// Of the record.
    #[prost(uint64, tag = "2")]
    pub prepare_position: u64,
}

/// Which events pass.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilterOptions {
    /// By stream …
    #[prost(message, optional, tag = "1")]
    pub stream_identifier: Option<Expression>,
    /// … or by type.
    #[prost(message, optional, tag = "2")]
    pub event_type: Option<Expression>,
    /// Events that are looked at per read of the server.
    #[prost(uint32, optional, tag = "3")]
    pub max: Option<u32>,
    /// As many as the server likes.
    #[prost(message, optional, tag = "4")]
    pub count: Option<Empty>,
    /// After how many such reads a checkpoint is sent.
    #[prost(uint32, tag = "5")]
    pub checkpoint_interval_multiplier: u32,
}

/// A regular expression, or prefixes of which one must fit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Expression {
    /// Empty when there are prefixes.
    #[prost(string, tag = "1")]
    pub regex: String,
    /// Empty when there is an expression.
    #[prost(string, repeated, tag = "2")]
    pub prefix: Vec<String>,
}

/// How ids are to be written.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UuidOption {
    /// As text.
    #[prost(message, optional, tag = "2")]
    pub string: Option<Empty>,
}

/// The name of a stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamIdentifier {
    /// UTF-8.
    #[prost(bytes = "vec", tag = "3")]
    pub stream_name: Vec<u8>,
}

/// An id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Uuid {
    /// As text.
    #[prost(string, tag = "2")]
    pub string: String,
}

/// Something that was read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadResp {
    /// What; `None` for something that we do not know.
    #[prost(oneof = "Content", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub content: Option<Content>,
}

/// What was read.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    /// An event.
    #[prost(message, tag = "1")]
    Event(ReadEvent),
    /// A subscription has begun.
    #[prost(message, tag = "2")]
    Confirmation(SubscriptionConfirmation),
    /// Everything up to here was looked at.
    #[prost(message, tag = "3")]
    Checkpoint(LogPosition),
    /// There is no such stream.
    #[prost(message, tag = "4")]
    StreamNotFound(StreamNotFound),
    /// Of a stream that is read.
    #[prost(uint64, tag = "5")]
    FirstStreamPosition(u64),
    /// Of a stream that is read.
    #[prost(uint64, tag = "6")]
    LastStreamPosition(u64),
    /// Of the log.
    #[prost(message, tag = "7")]
    LastAllStreamPosition(LogPosition),
    /// The subscription has seen what there is.
    #[prost(message, tag = "8")]
    CaughtUp(Reached),
    /// The subscription is behind again.
    #[prost(message, tag = "9")]
    FellBehind(Reached),
}

/// The server's name for a subscription.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubscriptionConfirmation {
    /// For its log.
    #[prost(string, tag = "1")]
    pub subscription_id: String,
}

/// There is no such stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamNotFound {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub stream_identifier: Option<StreamIdentifier>,
}

/// How far a subscription is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reached {
    /// `None` from an empty log.
    #[prost(message, optional, tag = "3")]
    pub position: Option<LogPosition>,
}

/// An event.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadEvent {
    /// As recorded.
    #[prost(message, optional, tag = "1")]
    pub event: Option<Recorded>,
    /// Its commit position.
    #[prost(uint64, optional, tag = "3")]
    pub commit_position: Option<u64>,
}

/// A recorded event.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Recorded {
    /// Its id.
    #[prost(message, optional, tag = "1")]
    pub id: Option<Uuid>,
    /// Its stream.
    #[prost(message, optional, tag = "2")]
    pub stream_identifier: Option<StreamIdentifier>,
    /// Its place in the stream, from 0.
    #[prost(uint64, tag = "3")]
    pub stream_revision: u64,
    /// See [`LogPosition`].
    #[prost(uint64, tag = "4")]
    pub prepare_position: u64,
    /// See [`LogPosition`].
    #[prost(uint64, tag = "5")]
    pub commit_position: u64,
    /// `type`, `created` (in 100 ns since 1970), `content-type`.
    #[prost(btree_map = "string, string", tag = "6")]
    pub metadata: BTreeMap<String, String>,
    /// What the writer gave: properties of version 2 as a JSON object.
    #[prost(bytes = "vec", tag = "7")]
    pub custom_metadata: Vec<u8>,
    /// The payload.
    #[prost(bytes = "vec", tag = "8")]
    pub data: Vec<u8>,
}
