//! How requests to an S3 store leave the process: by `outbound`, like everything else.
//!
//! One rule: the operator's endpoint is asked and nothing else, whatever a client or an answer says.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use outbound::{
    Allowed, Body, BreakerOptions, Call, CallError, Concurrency, Destination, Limits, Outbound,
    OutboundOptions, Policy, Refusal, Stage,
};
use url::Url;

use super::ObjectsError;

/// The label of metrics.
const PURPOSE: &str = "object_store";
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a store may be silent in an answer; a copy of 5 GiB ends well before. The deadline of each call of ours is
/// shorter.
const SILENCE: Duration = Duration::from_secs(10 * 60);
/// The longest transfer. A download takes as long as it takes: this is only there because a call has an end.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Calls at the same time. Downloads count until their last byte, and are bounded where people ask for them.
const CALLS: usize = 8_192;

/// The way to one store.
#[derive(Clone)]
pub(super) struct Transport {
    outbound: Outbound,
    endpoint: Destination,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// What may be called for a store at `endpoint`: that origin, wherever it is.
///
/// # Errors
/// Why the endpoint cannot be called by anybody.
pub(super) fn allowed(endpoint: &Url) -> Result<Allowed, String> {
    endpoint
        .origin()
        .ascii_serialization()
        .parse()
        .map_err(|error| format!("cannot be called: {error}"))
}

impl Transport {
    /// The way to the store at `endpoint`.
    ///
    /// # Errors
    /// When nobody may call it, or TLS cannot be set up.
    pub(super) fn new(endpoint: &Url) -> Result<Self, ObjectsError> {
        let refuse = |reason: String| ObjectsError::Address { reason };
        let allowed =
            allowed(endpoint).map_err(|problem| refuse(format!("has an endpoint that {problem}")))?;
        let Allowed::Origin(destination) = &allowed else {
            return Err(refuse("has an endpoint that is no origin".to_owned()));
        };
        let destination = destination.clone();
        let options = OutboundOptions {
            policy: Policy::default().allow(allowed),
            connect_within: CONNECT,
            concurrency: Concurrency {
                total: CALLS,
                per_destination: CALLS,
                ..Concurrency::default()
            },
            // Never: whoever cannot store gives up what is half there, and that must be tried whatever failed before.
            // How often a call is tried, and for how long, is the client's of the store.
            breaker: BreakerOptions {
                failures: u32::MAX,
                ..BreakerOptions::default()
            },
            ..OutboundOptions::default()
        };
        let outbound = Outbound::new(options).map_err(|error| refuse(format!("cannot be used: {error}")))?;
        Ok(Self {
            outbound,
            endpoint: destination,
        })
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, mut body) = request.into_parts();
        let mut chunks = Vec::new();
        while let Some(frame) = body.frame().await {
            chunks.extend(frame?.into_data().ok());
        }
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| refused(Refusal::Unparsable))?;
        if Destination::of(&url).map_err(refused)? != self.endpoint {
            return Err(refused(Refusal::Host));
        }
        let request = http::Request::from_parts(parts, Body::Chunks(chunks));
        let call = Call::from_request(PURPOSE, request).map_err(failed)?;
        let limits = Limits {
            total: LONGEST,
            first_byte: SILENCE,
            idle: SILENCE,
            request_bytes: u64::MAX,
            answer_bytes: u64::MAX,
        };
        let answer = self.outbound.send(call.limits(limits)).await.map_err(failed)?;
        Ok(answer
            .into_response()
            .map(|body| HttpResponseBody::new(body.map_err(failed))))
    }
}

fn refused(refusal: Refusal) -> HttpError {
    failed(CallError::Refused(refusal))
}

/// An error as the client of the store tries again by it.
fn failed(error: CallError) -> HttpError {
    let kind = match error {
        // Nothing was sent.
        CallError::Lookup
        | CallError::Connect
        | CallError::Busy
        | CallError::BreakerOpen { .. }
        | CallError::TimedOut(Stage::Queue | Stage::Lookup | Stage::Connect) => HttpErrorKind::Connect,
        CallError::TimedOut(_) => HttpErrorKind::Timeout,
        CallError::Interrupted => HttpErrorKind::Interrupted,
        CallError::Protocol | CallError::HeadersTooLarge | CallError::AnswerTooLarge { .. } => {
            HttpErrorKind::Decode
        }
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
