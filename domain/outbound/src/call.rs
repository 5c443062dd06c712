//! A call that is to be made.
//!
//! One rule: the caller says what is sent and why; what belongs to the connection (`Host`, lengths, hop-by-hop headers) is
//! the client's, so nobody can make one request look like two.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use serde::Serialize;
use url::Url;

use crate::{
    error::{CallError, Refusal},
    limits::Limits,
    outgoing::Body,
    retry::Retry,
    target::Target,
};

/// The header that tells a server which calls are one (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Headers of the connection (RFC 9110, 7.6.1) and of its framing.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
];

/// A call. Shown as purpose, method and origin.
pub struct Call {
    pub(crate) purpose: &'static str,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) limits: Limits,
    pub(crate) retry: Retry,
    pub(crate) repeatable: bool,
}

impl Call {
    /// A call of `target`. `purpose` is the label of its metrics: what part of the product calls, in one or two words.
    #[must_use]
    pub fn new(purpose: &'static str, method: Method, target: Target) -> Self {
        Self {
            purpose,
            // RFC 9110, 9.2.2.
            repeatable: method.is_idempotent(),
            method,
            target,
            headers: HeaderMap::new(),
            body: Body::empty(),
            limits: Limits::default(),
            retry: Retry::default(),
        }
    }

    /// The call that a library wants made, as `http` describes it. It is tried once: libraries try again themselves.
    ///
    /// # Errors
    /// [`CallError::Refused`] for its address, [`CallError::Request`] for its headers.
    pub fn from_request(purpose: &'static str, request: Request<Body>) -> Result<Self, CallError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| Refusal::Unparsable)?;
        let mut call = Self::new(purpose, parts.method, Target::new(url)?)
            .retry(Retry::none())
            .body(body);
        call.headers = parts.headers;
        Ok(call)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a header whose value is a secret: HTTP/2 does not keep it in its tables, and it is not shown.
    #[must_use]
    pub fn secret_header(self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.header(name, value)
    }

    /// What to send; nothing by default.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends `value` as JSON.
    ///
    /// # Errors
    /// [`CallError::Request`] when it is none.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, CallError> {
        let bytes = serde_json::to_vec(value).map_err(|_| CallError::Request("its body is no JSON"))?;
        let json = HeaderValue::from_static("application/json");
        Ok(self.header(header::CONTENT_TYPE, json).body(bytes))
    }

    /// Bounds of time and size.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How it is tried again, if it may be.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sends `key` as `Idempotency-Key`: the server does the same call once, so it may be tried again.
    #[must_use]
    pub fn idempotency_key(self, key: HeaderValue) -> Self {
        self.header(IDEMPOTENCY_KEY, key).repeatable()
    }

    /// Says that the receiver knows a repeat by something else (a webhook's id), so it may be tried again.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Whether it can be tried again after a failure.
    pub(crate) fn may_be_repeated(&self) -> bool {
        self.repeatable && self.body.can_be_sent_again()
    }

    /// That the method can be sent as it is meant: no tunnel, and no body that HTTP/1.1 has no way to send. Without a length
    /// a body of these methods would be left out silently.
    pub(crate) fn check_method(&self) -> Result<(), CallError> {
        let bodiless = matches!(self.method, Method::GET | Method::HEAD);
        match matches!(self.method, Method::CONNECT | Method::TRACE) {
            true => Err(CallError::Request("CONNECT and TRACE are for proxies")),
            false if bodiless && self.body.length().is_none() => {
                Err(CallError::Request("the body of a GET or HEAD has no length"))
            }
            false => Ok(()),
        }
    }

    /// The headers to send: those of the caller, if they are a caller's. `Host` and `Content-Length` may stand there as
    /// signatures need them, with the only right value; they are sent by the connection.
    pub(crate) fn checked_headers(&self) -> Result<HeaderMap, CallError> {
        if OF_THE_CONNECTION
            .iter()
            .any(|name| self.headers.contains_key(name))
        {
            return Err(CallError::Request("a header of the connection is set"));
        }
        let mut headers = self.headers.clone();
        let destination = self.target.destination();
        let host = [destination.host.to_string(), destination.to_string()];
        remove(&mut headers, header::HOST, |value| {
            host.iter().any(|host| host == value)
        })?;
        let length = self.body.length().map(|length| length.to_string());
        remove(&mut headers, header::CONTENT_LENGTH, |value| {
            length.as_deref().is_none_or(|length| length == value)
        })?;
        Ok(headers)
    }
}

fn remove(headers: &mut HeaderMap, name: HeaderName, right: impl Fn(&str) -> bool) -> Result<(), CallError> {
    let all_right = headers
        .get_all(&name)
        .iter()
        .all(|value| value.to_str().is_ok_and(&right));
    headers.remove(name);
    match all_right {
        true => Ok(()),
        false => Err(CallError::Request(
            "Host or Content-Length is not that of the request",
        )),
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("purpose", &self.purpose)
            .field("method", &self.method)
            .field("target", &self.target)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
