//! A call that can be sent.
//!
//! One rule: everything is checked here that can be without the network, once for all tries.

use http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::time::Instant;

use crate::{
    call::Call,
    error::{CallError, Refusal},
    outgoing::Body,
};

/// A call with what is sent of it, and its deadline.
pub(crate) struct Prepared {
    uri: Uri,
    headers: HeaderMap,
    pub(crate) call: Call,
    pub(crate) end: Instant,
}

impl Prepared {
    /// The call as it is sent, in the name of `user_agent` unless it says another.
    pub(crate) fn new(call: Call, end: Instant, user_agent: &HeaderValue) -> Result<Self, CallError> {
        call.check_method()?;
        let uri = call.target.expose().parse().map_err(|_| Refusal::Unparsable)?;
        let mut headers = call.checked_headers()?;
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, user_agent.clone());
        }
        let limit = call.limits.request_bytes;
        match call.body.length().is_some_and(|length| length > limit) {
            true => Err(CallError::RequestTooLarge { limit }),
            false => Ok(Self {
                uri,
                headers,
                call,
                end,
            }),
        }
    }

    /// The request, with the body as it can be sent this time.
    pub(crate) fn request(&mut self) -> (Request<()>, Body) {
        let mut request = Request::new(());
        *request.method_mut() = self.call.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        (request, self.call.body.take())
    }
}
