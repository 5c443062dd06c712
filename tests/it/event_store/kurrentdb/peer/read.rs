//! `Streams/Read` of the peer.
//!
//! The rule: a read begins with its position, a subscription after it. Checkpoints come late, as those of the
//! server do: while it catches up, they name what was sent last, not what was looked at last.

use std::sync::Arc;

use event_store::kurrentdb::wire::{
    Content, Expression, FilterOptions, LogPosition, Reached, ReadEvent, ReadOptions, ReadReq, ReadResp,
    Recorded, StreamIdentifier, StreamNotFound, SubscriptionConfirmation, Uuid,
};
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tonic::{Status, metadata::MetadataMap};

use super::{Fault, Shared, held, log::Record};

pub(super) type Answers = BoxStream<'static, Result<ReadResp, Status>>;

/// Handles one read or subscription, with what the script has for it.
pub(super) async fn read(
    shared: Arc<Shared>,
    node: usize,
    metadata: &MetadataMap,
    request: ReadReq,
) -> Result<Answers, Status> {
    let options = request
        .options
        .ok_or_else(|| Status::invalid_argument("no options"))?;
    let wants_leader = metadata
        .get("requires-leader")
        .is_some_and(|value| value == "true");
    let faults = match options.subscription {
        Some(_) => &shared.follows,
        None => &shared.reads,
    };
    let fault = held(faults).pop_front();
    match fault {
        Some(Fault::Refused) => return Err(Status::unavailable("the script refuses")),
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let leader = shared.mode().leader;
    if wants_leader && leader != node {
        return Err(not_leader(&shared, leader));
    }
    let (sender, receiver) = mpsc::channel(16);
    let mut out = Out {
        sender,
        fault,
        sent: 0,
    };
    tokio::spawn(async move {
        // An error is that the reader has gone, or the script's end.
        let _ended = match options.subscription {
            Some(_) => follow(&shared, node, &options, &mut out).await,
            None => once(&shared, &options, &mut out).await,
        };
    });
    Ok(Box::pin(futures::stream::unfold(
        receiver,
        |mut receiver| async {
            let next = receiver.recv().await?;
            Some((next, receiver))
        },
    )))
}

struct Out {
    sender: mpsc::Sender<Result<ReadResp, Status>>,
    fault: Option<Fault>,
    sent: usize,
}

struct Ended;

impl Out {
    async fn send(&mut self, content: Content) -> Result<(), Ended> {
        match self.fault {
            Some(Fault::BrokenAfter(count)) if count == self.sent => {
                self.fail(Status::unavailable("the script breaks the connection"))
                    .await;
                return Err(Ended);
            }
            Some(Fault::EndedAfter(count)) if count == self.sent => return Err(Ended),
            _ => {}
        }
        self.sent += 1;
        let message = ReadResp {
            content: Some(content),
        };
        self.sender.send(Ok(message)).await.map_err(|_| Ended)
    }

    async fn fail(&mut self, status: Status) {
        // The reader may have gone already.
        let _gone = self.sender.send(Err(status)).await;
    }
}

async fn once(shared: &Shared, options: &ReadOptions, out: &mut Out) -> Result<(), Ended> {
    let count = usize::try_from(options.count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let found: Vec<Record> = match &options.stream {
        Some(from) => {
            let name = from.stream_identifier.clone().unwrap_or_default();
            let text = String::from_utf8(name.stream_name.clone()).expect("names are text");
            let mut records: Vec<Record> = held(&shared.log).stream(&text).cloned().collect();
            if records.is_empty() {
                let stream_identifier = Some(name);
                return out
                    .send(Content::StreamNotFound(StreamNotFound { stream_identifier }))
                    .await;
            }
            records.retain(|record| from.revision.is_none_or(|revision| record.revision >= revision));
            records
        }
        None => {
            let at = options.all.as_ref().and_then(|all| all.position);
            let at = at.map_or(0, |place| place.commit_position);
            let log = held(&shared.log);
            log.records[log.records.partition_point(|record| record.position < at)..].to_vec()
        }
    };
    let passing = |record: &&Record| passes(options.filter.as_ref(), record);
    let chosen: Vec<_> = match options.read_direction {
        1 => found.iter().rev().filter(passing).take(count).collect(),
        _ => found.iter().filter(passing).take(count).collect(),
    };
    for record in chosen {
        out.send(event(record)).await?;
    }
    Ok(())
}

async fn follow(shared: &Shared, node: usize, options: &ReadOptions, out: &mut Out) -> Result<(), Ended> {
    let mut grown = shared.grown.subscribe();
    let at = options.all.as_ref().and_then(|all| all.position);
    let mut looked = at.map_or(0, |place| place.commit_position);
    let mut checkpoint = looked;
    let filter = options.filter.as_ref();
    let window = filter.and_then(|filter| filter.max).unwrap_or(32);
    let (mut considered, mut live) = (0, false);
    let subscription_id = "peer".to_owned();
    out.send(Content::Confirmation(SubscriptionConfirmation {
        subscription_id,
    }))
    .await?;
    loop {
        grown.mark_unchanged();
        let leader = shared.mode().leader;
        if leader != node {
            out.fail(not_leader(shared, leader)).await;
            return Err(Ended);
        }
        let fresh: Vec<Record> = {
            let log = held(&shared.log);
            log.records[log.records.partition_point(|record| record.position <= looked)..].to_vec()
        };
        for record in &fresh {
            looked = record.position;
            considered += 1;
            if passes(filter, record) {
                out.send(event(record)).await?;
                checkpoint = record.position;
            } else if live && considered % window == 0 {
                checkpoint = record.position;
                out.send(Content::Checkpoint(place(checkpoint))).await?;
            }
        }
        if !live {
            if checkpoint > 0 {
                out.send(Content::Checkpoint(place(checkpoint))).await?;
            }
            let position = (checkpoint > 0).then(|| place(checkpoint));
            out.send(Content::CaughtUp(Reached { position })).await?;
            live = true;
        }
        if grown.changed().await.is_err() {
            return Err(Ended);
        }
    }
}

fn place(position: u64) -> LogPosition {
    LogPosition {
        commit_position: position,
        prepare_position: position,
    }
}

fn passes(filter: Option<&FilterOptions>, record: &Record) -> bool {
    let fits = |expression: &Expression, text: &str| match expression.regex.as_str() {
        "" => expression
            .prefix
            .iter()
            .any(|prefix| text.starts_with(prefix.as_str())),
        "^[^$:]" => !text.starts_with(['$', ':']),
        other => panic!("the peer does not know {other}"),
    };
    filter.is_none_or(|filter| {
        let by = |expression: Option<&Expression>, text: &str| expression.is_none_or(|one| fits(one, text));
        by(filter.stream_identifier.as_ref(), &record.stream) && by(filter.event_type.as_ref(), &record.kind)
    })
}

fn event(record: &Record) -> Content {
    let metadata = [
        ("type", record.kind.clone()),
        ("created", record.created.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    let stream_name = record.stream.clone().into_bytes();
    let string = record.id.to_string();
    Content::Event(ReadEvent {
        event: Some(Recorded {
            id: Some(Uuid { string }),
            stream_identifier: Some(StreamIdentifier { stream_name }),
            stream_revision: record.revision,
            prepare_position: record.position,
            commit_position: record.position,
            metadata: metadata.map(|(name, value)| (name.to_owned(), value)).into(),
            custom_metadata: record.metadata.clone(),
            data: record.data.clone(),
        }),
        commit_position: Some(record.position),
    })
}

fn not_leader(shared: &Shared, leader: usize) -> Status {
    let mut status = Status::not_found("Leader info available");
    let port = held(&shared.ports)[leader].to_string();
    for (name, value) in [
        ("exception", "not-leader"),
        ("leader-endpoint-host", "127.0.0.1"),
        ("leader-endpoint-port", port.as_str()),
    ] {
        status
            .metadata_mut()
            .insert(name, value.parse().expect("a header"));
    }
    status
}
