//! Logs of jobs, down (JB-5).
//!
//! One rule: the log of a job is what the event log says about it, told line by line; nothing else is kept, and
//! nothing of it is ever thrown away.

use std::{collections::VecDeque, fmt::Write, io};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use domain::{
    aggregate::{Aggregate, DecodeError, decode, load},
    authz::Action,
    event_store::{EventStore, Filter, Position, RecordedEvent, StoreError},
    id::JobId,
    jobs::{
        job::{Job, JobEvent},
        progress::{Progress, ProgressEvent},
    },
    text::printable,
};
use futures::Stream;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Routes, SignedIn, load_failed, not_found,
    parameters::{InPath, InQuery},
    permitted, store_failed,
    transfers::Transfer,
};
use crate::{
    app::{App, Caller},
    graphql::job_feed::describe,
    http::problem::Problem,
};

/// Events that are looked at for one piece of the answer.
const PIECE: usize = 1_000;

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object in each line.
    #[default]
    Ndjson,
    /// For people.
    Text,
}

/// What of a log is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// See [`LogFormat`].
    #[serde(default)]
    format: LogFormat,
    /// Only what was recorded after this position.
    #[serde(default)]
    after: u64,
}

/// A line of a log.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    /// Position of the event that says it, as a decimal string like everywhere.
    position: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    attempt: u32,
    /// Steps done; of a sample: when it was written; none of what happens between steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    /// `info`, `warn`, `error`, `sample`, or `event` for what the audit log has as an event of its own.
    level: String,
    /// Of an event: its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// Of a sample: what the model was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    message: String,
}

impl Entry {
    /// The lines that `event` says.
    fn of(event: &RecordedEvent) -> Result<Vec<Self>, DecodeError> {
        let entry = |attempt, level: &str, message| Self {
            position: event.position.to_string(),
            at: event.at,
            attempt,
            step: None,
            level: level.to_owned(),
            event: None,
            prompt: None,
            message,
        };
        if event.stream.category() == Job::CATEGORY {
            let (_, attempt, message) = describe(&decode::<JobEvent>(event)?);
            return Ok(vec![Self {
                event: Some(event.kind.clone()),
                ..entry(attempt, "event", message)
            }]);
        }
        let ProgressEvent::Logged {
            attempt,
            step,
            samples,
            log,
        } = decode(event)?
        else {
            return Ok(Vec::new());
        };
        let lines = log.into_iter().map(|line| Self {
            step: Some(step),
            ..entry(attempt, &line.level, line.message)
        });
        let samples = samples.into_iter().map(|sample| Self {
            step: Some(sample.step),
            prompt: Some(sample.prompt),
            ..entry(attempt, "sample", sample.text)
        });
        Ok(lines.chain(samples).collect())
    }

    fn write(&self, format: LogFormat, text: &mut String) -> Result<(), io::Error> {
        match format {
            LogFormat::Ndjson => {
                text.push_str(&serde_json::to_string(self)?);
                text.push('\n');
                Ok(())
            }
            LogFormat::Text => self.tell(text).map_err(io::Error::other),
        }
    }

    /// For people: what a message says on further lines is indented, so that every other line begins with a time, and
    /// what would steer their terminal is escaped.
    fn tell(&self, text: &mut String) -> Result<(), std::fmt::Error> {
        let at = self.at.format(&Rfc3339).map_err(|_| std::fmt::Error)?;
        write!(text, "{at} {:<6} attempt {}", self.level, self.attempt)?;
        if let Some(step) = self.step {
            write!(text, " step {step}")?;
        }
        text.push_str(": ");
        if let Some(prompt) = self.prompt.as_ref().filter(|prompt| !prompt.is_empty()) {
            write!(text, "[{}]", printable(prompt).replace('\n', "\n    "))?;
        }
        text.push_str(&printable(&self.message).replace('\n', "\n    "));
        text.push('\n');
        Ok(())
    }
}

/// `GET /api/jobs/{id}/log`: everything that was said about a job up to now: what happened to it, log lines and
/// samples, oldest first, streamed. `format=ndjson` (one JSON object a line) or `text`; `after=POSITION` goes on after
/// a line that is known. Whoever may read the job may read it.
pub async fn log(
    State(routes): State<Routes>,
    SignedIn(caller): SignedIn,
    InPath(job): InPath<String>,
    InQuery(query): InQuery<LogQuery>,
) -> Result<Response, Problem> {
    let (app, place) = (&routes.app, routes.transfers.take(&caller)?);
    let job: JobId = job.parse().map_err(|_| not_found())?;
    let began = admit(app, &caller, job).await?;
    let end = app
        .ports
        .store
        .head()
        .await
        .map_err(|error| store_failed(&error))?;
    let reader = Reader {
        _place: place,
        app: app.clone(),
        filter: Filter {
            stream_prefixes: vec![Job::stream(job).to_string(), Progress::stream(job).to_string()],
            kind_prefixes: Vec::new(),
        },
        // The first event of a job is its own; nothing was said before it.
        after: Position(query.after.max(began.0.saturating_sub(1))),
        end,
        format: query.format,
    };
    let (kind, ending) = match query.format {
        LogFormat::Ndjson => ("application/x-ndjson", "ndjson"),
        LogFormat::Text => ("text/plain; charset=utf-8", "txt"),
    };
    let mut response = Response::new(Body::from_stream(reader.pieces()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let name = format!("attachment; filename=\"{job}.{ending}\"");
    if let Ok(name) = name.parse() {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Where the job begins in the log, if the caller may read it.
async fn admit(app: &App, caller: &Caller, id: JobId) -> Result<Position, Problem> {
    let job = load::<Job>(app.ports.store.as_ref(), id).await;
    let job = job.map_err(|error| load_failed(&error))?;
    permitted(app, caller, Action::TrainingRead, &job.state.resource(id)).await?;
    job.first.ok_or_else(not_found)
}

struct Reader {
    _place: Transfer,
    app: App,
    filter: Filter,
    after: Position,
    end: Position,
    format: LogFormat,
}

impl Reader {
    /// The log in pieces, read as the other side takes them.
    fn pieces(self) -> impl Stream<Item = Result<Bytes, io::Error>> {
        futures::stream::try_unfold(self, |mut reader| async move {
            while reader.after < reader.end {
                let text = reader.piece().await?;
                if !text.is_empty() {
                    return Ok(Some((Bytes::from(text), reader)));
                }
            }
            Ok(None)
        })
    }

    async fn piece(&mut self) -> Result<String, io::Error> {
        let store: &dyn EventStore = self.app.ports.store.as_ref();
        let page = store.read_all(self.after, &self.filter, PIECE).await;
        let page = page.map_err(|error: StoreError| self.broken(&error))?;
        let mut text = String::new();
        let (mut events, end) = (VecDeque::from(page.events), self.end);
        while let Some(event) = events.pop_front().filter(|event| event.position <= end) {
            for entry in Entry::of(&event).map_err(|error| self.broken(&error))? {
                entry.write(self.format, &mut text)?;
            }
        }
        self.after = page.next;
        Ok(text)
    }

    /// The answer has begun; all that is left is to break it off, so that nobody takes a part for the whole.
    fn broken(&self, error: &dyn std::fmt::Display) -> io::Error {
        tracing::error!(%error, streams = ?self.filter.stream_prefixes, "the log of a job broke off");
        io::Error::other("the log cannot be read at present")
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::{Entry, LogFormat};

    fn entry(message: &str) -> Entry {
        Entry {
            position: "7".to_owned(),
            at: datetime!(2026-11-21 12:00 UTC),
            attempt: 2,
            step: Some(40),
            level: "sample".to_owned(),
            event: None,
            prompt: Some("Alice".to_owned()),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_line_is_a_line_whatever_is_said() {
        let mut text = String::new();
        let said = entry(" said:\n2026-11-21T12:00:00Z error  attempt 9: forged");
        said.write(LogFormat::Text, &mut text).expect("written");
        let starts = text.lines().filter(|line| line.starts_with("2026-")).count();
        assert_eq!(starts, 1, "{text}");
        assert!(text.starts_with("2026-11-21T12:00:00Z sample attempt 2 step 40: [Alice] said:\n    "));
        let mut json = String::new();
        said.write(LogFormat::Ndjson, &mut json).expect("written");
        assert_eq!(json.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&read["step"], &read["position"]), (&40.into(), &"7".into()));
    }
}
