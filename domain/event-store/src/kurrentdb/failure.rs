//! What goes wrong between us and the server, sorted by what to do about it.
//!
//! The rule: messages carry what the server said, never the address, credentials or payloads.

use std::{future::Future, time::Duration};

use domain::event_store::StoreError;
use prost::Message as _;
use tonic::{Code, Status};

use super::{
    address::Node,
    wire::{
        AppendConsistencyViolationErrorDetails, ErrorInfo, NotLeaderNodeErrorDetails, RichStatus,
        StreamStateViolation,
    },
};

/// First and longest pause before another try.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Exponential backoff.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(PAUSES.0)
    }
}

impl Backoff {
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

/// Runs `work` under a deadline.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Passing(format!(
            "KurrentDB did not answer within {} s",
            limit.as_secs_f32()
        ))),
    }
}

/// A call that failed, by what helps.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Try again, on another node if this one is gone. What became of the call is unknown.
    Passing(String),
    /// Another node leads.
    NotLeader(Option<Node>),
    /// Checks of an append did not hold; nothing was recorded.
    Violated(Vec<StreamStateViolation>),
    /// What was sent is refused, and will be again.
    Unfit(String),
    /// The server does not let us.
    Denied(String),
    /// The server does not know the call.
    Unknown(String),
    /// The server takes no writes.
    ReadOnly(String),
    /// What it holds breaks its promises.
    Corrupt(String),
}

impl Failure {
    /// How it looks from outside.
    pub(super) fn into_store(self) -> StoreError {
        StoreError::Unavailable(match self {
            Self::Corrupt(why) => return StoreError::Corrupt(why),
            Self::Passing(why) | Self::Unfit(why) => why,
            Self::NotLeader(_) => "no node of the cluster leads now".to_owned(),
            Self::Violated(_) => "a check failed where none was asked for".to_owned(),
            Self::Denied(why) => {
                format!("KurrentDB refuses the name, the password or the rights of this user: {why}")
            }
            Self::Unknown(why) => {
                format!("this KurrentDB lacks a call that is needed; install version 26.1 or newer: {why}")
            }
            Self::ReadOnly(why) => {
                format!("KurrentDB is read-only; see its disk and its ReadOnly option: {why}")
            }
        })
    }

    /// Whether another try may help.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Passing(_) | Self::NotLeader(_))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        from_details(&status)
            .or_else(|| from_headers(&status))
            .unwrap_or_else(|| from_code(&status))
    }
}

/// What version 2 of the protocol says in full.
fn from_details(status: &Status) -> Option<Failure> {
    let rich = RichStatus::decode(status.details()).ok()?;
    let said = || status.message().to_owned();
    let mut reason = String::new();
    for detail in &rich.details {
        let value = detail.value.as_slice();
        match detail.type_url.rsplit('/').next().unwrap_or_default() {
            "kurrent.rpc.NotLeaderNodeErrorDetails" => {
                let leader = NotLeaderNodeErrorDetails::decode(value).ok()?.current_leader;
                let leader = leader.and_then(|node| {
                    let port = u32::try_from(node.port).ok()?;
                    Some(Node {
                        host: node.host,
                        port,
                    })
                });
                return Some(Failure::NotLeader(leader));
            }
            "kurrentdb.protocol.v2.streams.errors.AppendConsistencyViolationErrorDetails" => {
                let violations = AppendConsistencyViolationErrorDetails::decode(value)
                    .ok()?
                    .violations;
                return Some(Failure::Violated(
                    violations
                        .into_iter()
                        .filter_map(|one| one.stream_state)
                        .collect(),
                ));
            }
            "google.rpc.ErrorInfo" => reason = ErrorInfo::decode(value).ok()?.reason,
            _ => {}
        }
    }
    match reason.as_str() {
        "APPEND_RECORD_SIZE_EXCEEDED" | "APPEND_TRANSACTION_SIZE_EXCEEDED" | "BAD_REQUEST" => {
            Some(Failure::Unfit(said()))
        }
        _ => None,
    }
}

/// What version 1 of the protocol says in headers.
fn from_headers(status: &Status) -> Option<Failure> {
    let header = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    match header("exception")? {
        "not-leader" => {
            let host = header("leader-endpoint-host").map(str::to_owned);
            let port = header("leader-endpoint-port").and_then(|port| port.parse().ok());
            Some(Failure::NotLeader(
                host.zip(port).map(|(host, port)| Node { host, port }),
            ))
        }
        "access-denied" => Some(Failure::Denied(status.message().to_owned())),
        "stream-deleted" => Some(Failure::Corrupt(
            "a stream was deleted from outside; restore the log from a backup".to_owned(),
        )),
        _ => None,
    }
}

fn from_code(status: &Status) -> Failure {
    let said = format!("{} ({:?})", status.message(), status.code());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => Failure::Denied(said),
        Code::Unimplemented => Failure::Unknown(said),
        // An address that answers, but not in gRPC: the message names the HTTP status.
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => Failure::Unfit(said),
        Code::Internal if said.contains("read-only") => Failure::ReadOnly(said),
        Code::DataLoss => Failure::Corrupt(said),
        _ => Failure::Passing(said),
    }
}
