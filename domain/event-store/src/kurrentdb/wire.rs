//! The messages of KurrentDB's gRPC protocols that we speak, written by hand: what we never read is left out.
//!
//! The rule: names, numbers and types are those of the published `.proto` files (`streams.proto`,
//! `serverfeatures.proto` of version 1 of the protocol, `kurrentdb/protocol/v2/streams/*.proto`,
//! `kurrent/rpc/errors.proto`); a field that is not here is skipped when read. Public for the scripted peer of
//! the tests, which answers in the same words; the official client reads that peer too, so that a slip in
//! version 1 shows.

use std::collections::BTreeMap;

/// `StreamsService/AppendRecords` of version 2.
pub const APPEND_RECORDS: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords";
/// `Streams/Read` of version 1.
pub const READ: &str = "/event_store.client.streams.Streams/Read";
/// `ServerFeatures/GetSupportedMethods` of version 1.
pub const SUPPORTED_METHODS: &str = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";

/// `expected_state`: the stream has no events.
pub const NO_STREAM: i64 = -1;
/// `actual_state`: the stream was deleted, and may be written again.
pub const DELETED: i64 = -5;
/// `actual_state`: the stream was deleted for good.
pub const TOMBSTONED: i64 = -6;

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// Records for several streams, and where which streams must stand.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendRecordsRequest {
    /// In the order of the log.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<AppendRecord>,
    /// Each stream at most once.
    #[prost(message, repeated, tag = "2")]
    pub checks: Vec<ConsistencyCheck>,
}

/// One record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendRecord {
    /// A UUID; the server makes one when there is none.
    #[prost(string, optional, tag = "1")]
    pub record_id: Option<String>,
    /// What version 1 gives back as custom metadata, a JSON object.
    #[prost(btree_map = "string, message", tag = "2")]
    pub properties: BTreeMap<String, Value>,
    /// Its type.
    #[prost(message, optional, tag = "3")]
    pub schema: Option<SchemaInfo>,
    /// The payload.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
    /// The stream.
    #[prost(string, optional, tag = "5")]
    pub stream: Option<String>,
}

/// Format and type of a record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SchemaInfo {
    /// A [`SchemaFormat`].
    #[prost(enumeration = "SchemaFormat", tag = "1")]
    pub format: i32,
    /// The type: what version 1 calls the event type.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// How a payload is to be read. Others exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SchemaFormat {
    /// Not said.
    Unspecified = 0,
    /// JSON.
    Json = 1,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// One of the JSON kinds.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// The kinds of a [`Value`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// `null`.
    #[prost(enumeration = "Null", tag = "1")]
    Null(i32),
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A string.
    #[prost(string, tag = "3")]
    String(String),
    /// `true` or `false`.
    #[prost(bool, tag = "4")]
    Bool(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Object(Struct),
    /// An array.
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.NullValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Null {
    /// The only one.
    Null = 0,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    /// By name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct List {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// Where a stream must stand.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConsistencyCheck {
    /// The only kind of check that servers know.
    #[prost(message, optional, tag = "1")]
    pub stream_state: Option<StreamStateCheck>,
}

/// Where this stream must stand.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamStateCheck {
    /// Its name.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// Its last revision, or [`NO_STREAM`].
    #[prost(sint64, tag = "2")]
    pub expected_state: i64,
}

/// An append was recorded.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendRecordsResponse {
    /// Streams that were written to.
    #[prost(message, repeated, tag = "1")]
    pub revisions: Vec<StreamRevision>,
    /// Commit position of the last record.
    #[prost(sint64, tag = "2")]
    pub position: i64,
}

/// Where a stream stands now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamRevision {
    /// Its name.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// Its last revision.
    #[prost(sint64, tag = "2")]
    pub revision: i64,
}

/// `google.rpc.Status`: what stands in the header `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RichStatus {
    /// The gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// In words.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Each in a message of its own.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// Ends with `/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorInfo {
    /// As `NOT_LEADER_NODE`.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// As `server` or `streams`.
    #[prost(string, tag = "2")]
    pub domain: String,
}

/// Details of an append whose checks did not hold.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AppendConsistencyViolationErrorDetails {
    /// All checks that failed.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<ConsistencyViolation>,
}

/// A check that did not hold.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConsistencyViolation {
    /// Which of the checks.
    #[prost(int32, tag = "1")]
    pub check_index: i32,
    /// How the stream stands.
    #[prost(message, optional, tag = "2")]
    pub stream_state: Option<StreamStateViolation>,
}

/// How a stream stands instead.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamStateViolation {
    /// Its name.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// Where it should stand.
    #[prost(sint64, tag = "2")]
    pub expected_state: i64,
    /// Its last revision, or [`NO_STREAM`], [`DELETED`], [`TOMBSTONED`].
    #[prost(sint64, tag = "3")]
    pub actual_state: i64,
}

/// Details of a refusal by a node that does not lead.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NotLeaderNodeErrorDetails {
    /// Who leads.
    #[prost(message, optional, tag = "1")]
    pub current_leader: Option<NodeInfo>,
}

/// A node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeInfo {
    /// Name or address.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Of gRPC.
    #[prost(int32, tag = "2")]
    pub port: i32,
}

/// What a server can do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SupportedMethods {
    /// All methods.
    #[prost(message, repeated, tag = "1")]
    pub methods: Vec<SupportedMethod>,
    /// As `26.1.0`.
    #[prost(string, tag = "2")]
    pub event_store_server_version: String,
}

/// A method of a server.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SupportedMethod {
    /// In lower case.
    #[prost(string, tag = "1")]
    pub method_name: String,
    /// In lower case.
    #[prost(string, tag = "2")]
    pub service_name: String,
}

pub use super::wire_read::*;
