//! One try of a call.
//!
//! One rule: its turn, then the breaker, then the network; and whatever comes of it is told to the breaker.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::{
    answer::{Answer, AnswerBody, Reading},
    breaker::Verdict,
    connector::{HttpClient, meaning},
    destinations::{Destinations, Permits, Ticket},
    error::{CallError, Stage},
    limits::Limits,
    outgoing::Outgoing,
    prepared::Prepared,
    record::Recording,
    retry::is_passing,
};

/// An answer whose head has come.
pub(crate) struct Begun {
    response: Response<Incoming>,
    /// Of an answer whose body still tells something of the destination.
    ticket: Option<Ticket>,
    permits: Permits,
    limits: Limits,
    end: Instant,
}

impl Begun {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The answer, which tells `recording` how it ends.
    pub(crate) fn with(self, recording: Recording) -> Answer {
        let (parts, incoming) = self.response.into_parts();
        let reading = Reading {
            limit: self.limits.answer_bytes,
            idle: self.limits.idle,
            end: self.end,
            ticket: self.ticket,
            _permits: self.permits,
            recording,
        };
        Answer::new(parts.status, parts.headers, AnswerBody::new(incoming, reading))
    }
}

/// Tries `prepared` once, by a connection of `http`.
pub(crate) async fn attempt(
    destinations: &Destinations,
    http: &HttpClient,
    prepared: &mut Prepared,
) -> Result<Begun, CallError> {
    let known = destinations.of(prepared.call.target.destination())?;
    let permits = destinations.permits(&known).await?;
    let ticket = known.admit()?;
    let limits = prepared.call.limits;
    let (request, body) = prepared.request();
    let progress = Arc::new(AtomicU64::new(0));
    let body = Outgoing::new(body, limits.request_bytes, Arc::clone(&progress));
    let answered = exchange(http, request.map(|()| body), &progress, limits.first_byte).await;
    let (response, ticket) = match (verdict(&answered), answered) {
        (Verdict::Works, Ok(response)) => (response, Some(ticket.answered())),
        (verdict, answered) => {
            ticket.settle(verdict);
            (answered?, None)
        }
    };
    let limit = limits.answer_bytes;
    match response.body().size_hint().lower() > limit {
        true => Err(CallError::AnswerTooLarge { limit }),
        false => Ok(Begun {
            response,
            ticket,
            permits,
            limits,
            end: prepared.end,
        }),
    }
}

/// Sends, and waits for the head; as long as pieces of the request are taken, the wait begins anew.
async fn exchange(
    http: &HttpClient,
    request: Request<Outgoing>,
    progress: &AtomicU64,
    first_byte: Duration,
) -> Result<Response<Incoming>, CallError> {
    let mut answering = pin!(http.request(request));
    loop {
        let before = progress.load(Ordering::Relaxed);
        match timeout(first_byte, &mut answering).await {
            Ok(answered) => return answered.map_err(|error| meaning(&error)),
            Err(_) if progress.load(Ordering::Relaxed) != before => {}
            Err(_) => return Err(CallError::TimedOut(Stage::FirstByte)),
        }
    }
}

fn verdict(answered: &Result<Response<Incoming>, CallError>) -> Verdict {
    match answered {
        // Too many requests is what a destination says that works.
        Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => Verdict::Works,
        Ok(response) if is_passing(response.status()) => Verdict::Fails,
        Ok(_) => Verdict::Works,
        Err(error) if error.is_failure_of_destination() => Verdict::Fails,
        Err(_) => Verdict::Unknown,
    }
}
