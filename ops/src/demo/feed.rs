//! A job's live feed over server-sent events: resumed after every break, from the last position seen (GQ-4).

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, Response, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Answer, CallError},
    session::Session,
    sse::{Event, Parser},
};

const FEED: &str = "subscription($job: ID!, $after: Long) { answer: jobFeed(jobId: $job, after: $after) { __typename \
     ... on JobDelta { event message } \
     ... on JobMetricBatch { step totalSteps etaSeconds points { loss tokensPerSecond } evaluations { step loss } } \
     ... on JobLogChunk { lines { level message step prompt } } \
     ... on FeedEnd { position reason } } }";

/// How often in a row a connection may bring nothing before we give up: about a minute.
const FRUITLESS: u32 = 25;
/// The longest wait between two connections.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// One step's measurements.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Point {
    pub(super) loss: f64,
    pub(super) tokens_per_second: f64,
}

/// One evaluation.
#[derive(Debug, Deserialize)]
pub(super) struct Evaluation {
    pub(super) step: u32,
    pub(super) loss: f64,
}

/// A log line or a sample.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) level: String,
    pub(super) message: String,
    pub(super) step: Option<u32>,
    pub(super) prompt: Option<String>,
}

/// What a feed carries, as far as it is shown.
#[derive(Debug, Deserialize)]
#[serde(tag = "__typename", rename_all_fields = "camelCase")]
pub(super) enum Item {
    /// Something happened.
    #[serde(rename = "JobDelta")]
    Delta { event: String, message: String },
    /// Measurements.
    #[serde(rename = "JobMetricBatch")]
    Metrics {
        step: u32,
        total_steps: u32,
        eta_seconds: Option<u32>,
        points: Vec<Point>,
        evaluations: Vec<Evaluation>,
    },
    /// Log lines and samples.
    #[serde(rename = "JobLogChunk")]
    Log { lines: Vec<Line> },
    /// Nothing more will come.
    #[serde(rename = "FeedEnd")]
    End { position: String, reason: String },
    /// A heartbeat, a snapshot, or what a newer server knows.
    #[serde(other)]
    Other,
}

/// The end of a job.
pub(super) struct JobEnd {
    /// Position of its last event.
    pub(super) position: String,
    /// How it ended, in words.
    pub(super) reason: String,
}

/// How far the feed was read. One event of the log may become several items with the same position, and a
/// connection may break between them: so we go on from the position before, and skip what we have seen.
#[derive(Default)]
struct Place {
    before: Option<String>,
    at: Option<String>,
    seen: u32,
    skip: u32,
}

impl Place {
    /// Begins another connection; returns the position to go on after.
    fn resume(&mut self) -> Option<&str> {
        self.skip = self.seen;
        self.before.as_deref()
    }

    /// Whether the item at this position was not seen before.
    fn is_new(&mut self, position: String) -> bool {
        if self.at.as_ref() != Some(&position) {
            self.before = self.at.replace(position);
            (self.seen, self.skip) = (1, 0);
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.seen += 1;
        true
    }
}

/// How a connection ended.
enum Ended {
    /// The job is over.
    Finished(JobEnd),
    /// It broke off; `true` when it had brought something.
    Broken(bool),
}

/// Follows a job from its first event to its last and hands every item to `seen`. Returns its end.
///
/// # Errors
/// When the server refuses, or does not answer for about a minute.
pub(super) async fn follow(
    session: &Session,
    job: &str,
    mut seen: impl FnMut(&Item) -> anyhow::Result<()>,
) -> anyhow::Result<JobEnd> {
    let mut place = Place::default();
    let mut fruitless = 0;
    loop {
        let outcome = match connect(session, job, place.resume()).await {
            Ok(response) => read(session, response, &mut place, &mut seen).await,
            Err(error) => Err(error.into()),
        };
        let passing = match outcome {
            Ok(Ended::Finished(end)) => return Ok(end),
            Ok(Ended::Broken(true)) => {
                fruitless = 0;
                None
            }
            Ok(Ended::Broken(false)) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = passing {
            let refusal = error.downcast_ref::<CallError>();
            let signed_out = refusal.is_some_and(|refusal| refusal.is("UNAUTHENTICATED"));
            if signed_out {
                session.renew().await;
            }
            if fruitless >= FRUITLESS || !(signed_out || refusal.is_some_and(CallError::may_pass)) {
                return Err(error);
            }
        } else if fruitless >= FRUITLESS {
            anyhow::bail!("the job's feed brings nothing; the job goes on, run the demo again to follow it");
        }
        tokio::time::sleep(LONGEST_WAIT.min(Duration::from_millis(100 << fruitless.min(5)))).await;
        fruitless += 1;
    }
}

async fn connect(session: &Session, job: &str, after: Option<&str>) -> Result<Response, CallError> {
    let token = session.token().await?;
    let request = session.client().request(Method::POST, "graphql", Some(&token));
    let request = request.map_err(|error| CallError::Unreadable(error.to_string()))?;
    let mut request = request
        .header(header::ACCEPT, "text/event-stream")
        .json(&json!({ "query": FEED, "variables": { "job": job, "after": "0" } }));
    if let Some(after) = after {
        // Counts more than the variable: the same request goes on where the last one broke off.
        request = request.header("Last-Event-ID", after);
    }
    let response = session.client().send(request).await?;
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return Ok(response);
    }
    let bytes = response
        .bytes()
        .await
        .map_err(|error| session.client().unreachable(&error))?;
    let answer: Answer =
        serde_json::from_slice(&bytes).map_err(|error| CallError::Unreadable(error.to_string()))?;
    answer.read::<Value>()?;
    Err(CallError::Unreadable(
        "a stream of events was expected".to_owned(),
    ))
}

async fn read(
    session: &Session,
    response: Response,
    place: &mut Place,
    seen: &mut impl FnMut(&Item) -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let mut parser = Parser::default();
    let mut bytes = response.bytes_stream();
    let mut fruitful = false;
    while let Some(chunk) = bytes.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(_) if fruitful => return Ok(Ended::Broken(true)),
            Err(error) => return Err(session.client().unreachable(&error).into()),
        };
        for Event { kind, data, id } in parser.push(&chunk)? {
            if kind != "next" {
                continue;
            }
            let answer: Answer =
                serde_json::from_str(&data).map_err(|error| CallError::Unreadable(error.to_string()))?;
            let item: Item = answer.read()?;
            if id.is_some_and(|id| !place.is_new(id)) {
                continue;
            }
            seen(&item)?;
            fruitful = true;
            if let Item::End { position, reason } = item {
                return Ok(Ended::Finished(JobEnd { position, reason }));
            }
        }
    }
    Ok(Ended::Broken(fruitful))
}

#[cfg(test)]
mod tests {
    use super::{Item, Place};

    /// GQ-4: a break between two items of one event neither loses nor repeats any.
    #[test]
    fn nothing_is_lost_or_repeated_wherever_the_feed_breaks() {
        let recorded = [
            (3, 'a'),
            (4, 'b'),
            (4, 'c'),
            (4, 'd'),
            (6, 'e'),
            (6, 'f'),
            (9, 'g'),
        ];
        for length in 1..=recorded.len() {
            let (mut place, mut got) = (Place::default(), String::new());
            while !got.ends_with('g') {
                let after: u64 = place
                    .resume()
                    .map_or(0, |position| position.parse().expect("a number"));
                let rest = recorded.iter().filter(|(position, _)| *position > after);
                for (position, item) in rest.take(length + 3) {
                    if place.is_new(position.to_string()) {
                        got.push(*item);
                    }
                }
            }
            assert_eq!(got, "abcdefg", "when it breaks after {length} items");
        }
    }

    #[test]
    fn items_are_read_by_their_type_and_unknown_ones_pass() {
        let metrics = r#"{"__typename":"JobMetricBatch","step":5,"totalSteps":20,"etaSeconds":null,
            "points":[{"loss":7.5,"tokensPerSecond":900.0}],"evaluations":[]}"#;
        let item: Item = serde_json::from_str(metrics).expect("metrics");
        assert!(matches!(
            item,
            Item::Metrics {
                step: 5,
                total_steps: 20,
                eta_seconds: None,
                ..
            }
        ));
        let newer = r#"{"__typename":"JobPoem","lines":3}"#;
        assert!(matches!(
            serde_json::from_str(newer).expect("anything"),
            Item::Other
        ));
    }
}
