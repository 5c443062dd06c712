//! `StreamsService/AppendRecords` of the peer.
//!
//! The rule: as the server's sources have it. All checks are looked at before anything is written; an append
//! whose written streams all hold its ids already, where it wants them, succeeds without writing (the content
//! is not compared); streams that hold them are named among the violations otherwise.

use std::collections::{BTreeMap, HashMap};

use event_store::kurrentdb::wire::{
    Any, AppendConsistencyViolationErrorDetails, AppendRecord, AppendRecordsRequest, AppendRecordsResponse,
    ConsistencyViolation, ErrorInfo, Kind, NodeInfo, NotLeaderNodeErrorDetails, RichStatus, StreamRevision,
    StreamStateViolation, Value,
};
use prost::Message as _;
use serde_json::Value as Json;
use tonic::{Code, Status};

use super::{Fault, Log, Shared, held};

/// Handles one append, with what the script has for it.
pub(super) async fn append(
    shared: &Shared,
    node: usize,
    request: AppendRecordsRequest,
) -> Result<AppendRecordsResponse, Status> {
    if !shared.mode().appends {
        return Err(Status::unimplemented("Service is unimplemented."));
    }
    let fault = held(&shared.appends).pop_front();
    match fault {
        Some(Fault::Refused) => return Err(Status::unavailable("the script refuses")),
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let mode = shared.mode();
    if mode.leader != node {
        return Err(not_leader(shared, mode.leader));
    }
    if mode.read_only {
        return Err(Status::internal("Server is in read-only mode"));
    }
    let (outcome, length) = {
        let mut log = held(&shared.log);
        (decide(&mut log, &request), log.records.len())
    };
    shared.grown.send_replace(length);
    let mut answer = outcome?;
    match fault {
        Some(Fault::AnswerLost) => return Err(Status::unavailable("the script loses the answer")),
        Some(Fault::WrongRevision) => answer.revisions.iter_mut().for_each(|moved| moved.revision += 7),
        _ => {}
    }
    Ok(answer)
}

/// The server takes names that differ by case alone for one, within a request.
fn folded(name: &str) -> String {
    name.to_uppercase()
}

fn stream_of(record: &AppendRecord) -> &str {
    record.stream.as_deref().unwrap_or_default()
}

fn decide(log: &mut Log, request: &AppendRecordsRequest) -> Result<AppendRecordsResponse, Status> {
    let bad = |what: &str| Err(Status::invalid_argument(what.to_owned()));
    if request.records.is_empty() {
        return bad("Append records request must contain at least one record.");
    }
    let mut records: HashMap<String, Vec<&AppendRecord>> = HashMap::new();
    for record in &request.records {
        records.entry(folded(stream_of(record))).or_default().push(record);
    }
    let (mut violations, mut idempotent, mut checked) = (Vec::new(), 0, HashMap::new());
    for check in request
        .checks
        .iter()
        .filter_map(|check| check.stream_state.as_ref())
    {
        let index = checked.len();
        if check.expected_state == -2 || checked.insert(folded(&check.stream), ()).is_some() {
            return bad("Any is not allowed, and each stream can only appear once in consistency checks.");
        }
        let actual = log.state(&check.stream);
        if actual == check.expected_state {
            continue;
        }
        let writes = records.get(&folded(&check.stream));
        let there = check.expected_state < actual
            && writes.is_some_and(|writes| holds(log, &check.stream, check.expected_state, writes));
        idempotent += usize::from(there);
        violations.push(violation(index, &check.stream, check.expected_state, actual));
    }
    if idempotent == records.len() {
        return Ok(answer(log, request));
    }
    if !violations.is_empty() {
        return Err(refusal(violations));
    }
    log.tick();
    for record in &request.records {
        write(log, record)?;
    }
    Ok(answer(log, request))
}

fn holds(log: &Log, stream: &str, wanted: i64, records: &[&AppendRecord]) -> bool {
    let mut there = log
        .stream(stream)
        .skip(usize::try_from(wanted + 1).unwrap_or_default());
    records.iter().all(|record| {
        let id = there.next().map(|record| record.id.to_string());
        record.record_id.is_some() && record.record_id == id
    })
}

fn write(log: &mut Log, record: &AppendRecord) -> Result<(), Status> {
    let bad = |what: &str| Status::invalid_argument(what.to_owned());
    let schema = record.schema.as_ref().ok_or_else(|| bad("Schema is missing"))?;
    let fits = |letter: char| letter.is_alphanumeric() || "_.$:-".contains(letter);
    if schema.name.is_empty() || !schema.name.chars().all(fits) {
        return Err(bad("Schema name can only contain letters and some signs"));
    }
    if schema.format != 1 {
        return Err(bad("the peer knows JSON only"));
    }
    let id = record.record_id.as_ref().map(|id| id.parse()).transpose();
    let id = id.map_err(|_| bad("the record id is not a UUID"))?;
    let mut properties: BTreeMap<String, Json> = BTreeMap::new();
    for (name, value) in &record.properties {
        properties.insert(
            name.clone(),
            json(value).ok_or_else(|| bad("a value has no type"))?,
        );
    }
    properties.insert("$schema.name".to_owned(), schema.name.clone().into());
    properties.insert("$schema.format".to_owned(), "Json".into());
    let metadata = serde_json::to_vec(&properties).expect("JSON");
    log.push(id, stream_of(record), &schema.name, metadata, record.data.clone());
    Ok(())
}

fn json(value: &Value) -> Option<Json> {
    Some(match value.kind.as_ref()? {
        Kind::Null(_) => Json::Null,
        Kind::Number(number) => (*number).into(),
        Kind::String(text) => text.clone().into(),
        Kind::Bool(yes) => (*yes).into(),
        Kind::Object(fields) => {
            let fields = fields
                .fields
                .iter()
                .map(|(name, value)| Some((name.clone(), json(value)?)));
            Json::Object(fields.collect::<Option<_>>()?)
        }
        Kind::List(list) => Json::Array(list.values.iter().map(json).collect::<Option<_>>()?),
    })
}

fn answer(log: &Log, request: &AppendRecordsRequest) -> AppendRecordsResponse {
    let mut revisions: BTreeMap<&str, i64> = BTreeMap::new();
    let mut position = 0;
    for record in &request.records {
        let stream = stream_of(record);
        let last = log.stream(stream).next_back().map_or(0, |record| record.position);
        position = position.max(i64::try_from(last).expect("few records"));
        revisions.insert(stream, log.state(stream));
    }
    let revision = |(stream, revision): (&str, i64)| StreamRevision {
        stream: stream.to_owned(),
        revision,
    };
    AppendRecordsResponse {
        revisions: revisions.into_iter().map(revision).collect(),
        position,
    }
}

fn violation(index: usize, stream: &str, expected_state: i64, actual_state: i64) -> ConsistencyViolation {
    ConsistencyViolation {
        check_index: i32::try_from(index).expect("few checks"),
        stream_state: Some(StreamStateViolation {
            stream: stream.to_owned(),
            expected_state,
            actual_state,
        }),
    }
}

fn refusal(violations: Vec<ConsistencyViolation>) -> Status {
    let details = AppendConsistencyViolationErrorDetails { violations };
    rich(
        ("APPEND_CONSISTENCY_VIOLATION", "streams"),
        "kurrentdb.protocol.v2.streams.errors.AppendConsistencyViolationErrorDetails",
        details.encode_to_vec(),
    )
}

fn not_leader(shared: &Shared, leader: usize) -> Status {
    let details = NotLeaderNodeErrorDetails {
        current_leader: Some(NodeInfo {
            host: "127.0.0.1".to_owned(),
            port: held(&shared.ports)[leader].into(),
        }),
    };
    let name = "kurrent.rpc.NotLeaderNodeErrorDetails";
    rich(("NOT_LEADER_NODE", "server"), name, details.encode_to_vec())
}

fn rich((reason, domain): (&str, &str), name: &str, value: Vec<u8>) -> Status {
    let code = Code::FailedPrecondition;
    let any = |name: &str, value| Any {
        type_url: format!("type.googleapis.com/{name}"),
        value,
    };
    let info = ErrorInfo {
        reason: reason.to_owned(),
        domain: domain.to_owned(),
    };
    let status = RichStatus {
        code: code as i32,
        message: reason.to_owned(),
        details: vec![
            any("google.rpc.ErrorInfo", info.encode_to_vec()),
            any(name, value),
        ],
    };
    Status::with_details(code, reason, status.encode_to_vec().into())
}
