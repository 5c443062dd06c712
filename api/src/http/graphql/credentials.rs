//! What a request brings along to say who it is from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::auth_error::AuthError;
use crate::auth::secret::Secret;
use crate::http::server::RequestId;

/// The way a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One request, one answer.
    Http,
    /// Server-sent events.
    EventStream,
    /// A WebSocket, authenticated once for all its operations.
    Socket,
}

/// What is known of a caller before anything is believed. Secrets do not show in `Debug`.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The token of `Authorization: Bearer …`, or of a socket's `connection_init`.
    pub bearer: Option<Secret>,
    /// The key of `X-API-Key`, or of a socket's `connection_init`.
    pub api_key: Option<Secret>,
    /// The address at the other end of the connection: a proxy's, behind a proxy.
    pub peer: Option<IpAddr>,
    /// The client's `User-Agent`, cut at 256 characters.
    pub user_agent: Option<String>,
    /// The browser's `Origin`; it has passed the endpoint's check.
    pub origin: Option<String>,
    /// The name of the request, for audit and log.
    pub request_id: RequestId,
    /// The way it came in.
    pub transport: Transport,
}

impl Credentials {
    /// Collects what a request's header says.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] for an `Authorization` that is not a bearer token: whoever sends one
    /// does not mean to be anonymous.
    pub(crate) fn of(parts: &Parts, request_id: RequestId, transport: Transport) -> Result<Self, AuthError> {
        const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
        let headers = &parts.headers;
        let api_key = secret_header(headers, &API_KEY)?.map(|key| Secret::new(key.to_owned()));
        let bearer = secret_header(headers, &header::AUTHORIZATION)?
            .map(bearer_token)
            .transpose()?;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            bearer,
            api_key,
            peer: parts
                .extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|peer| peer.0.ip()),
            user_agent: text(header::USER_AGENT).map(|agent| agent.chars().take(256).collect()),
            origin: text(header::ORIGIN).map(str::to_owned),
            request_id,
            transport,
        })
    }

    /// Takes what a socket's `connection_init` says over what its upgrade request said.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] when a member is there and is no token.
    pub(super) fn with_init_payload(mut self, payload: &Map<String, Value>) -> Result<Self, AuthError> {
        let member = |names: &[&str]| names.iter().find_map(|name| payload.get(*name));
        if let Some(value) = member(&["authorization", "Authorization"]) {
            self.bearer = Some(bearer_token(value.as_str().ok_or_else(not_a_token)?)?);
        } else if let Some(value) = member(&["token"]) {
            self.bearer = Some(Secret::new(value.as_str().ok_or_else(not_a_token)?.to_owned()));
        }
        if let Some(value) = member(&["apiKey", "x-api-key", "X-API-Key"]) {
            self.api_key = Some(Secret::new(value.as_str().ok_or_else(not_a_token)?.to_owned()));
        }
        Ok(self)
    }
}

/// The one value of a header that carries a secret. Two of them are two opinions on who asks.
fn secret_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| not_a_token()),
        (Some(_), Some(_)) => Err(not_a_token()),
    }
}

/// The token of an `Authorization` value; the scheme's letters may be of either case (RFC 9110, 11.1).
fn bearer_token(value: &str) -> Result<Secret, AuthError> {
    let (scheme, token) = value.trim().split_once(' ').ok_or_else(not_a_token)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
        return Err(not_a_token());
    }
    Ok(Secret::new(token.to_owned()))
}

fn not_a_token() -> AuthError {
    AuthError::Unauthenticated("send one token as 'Authorization: Bearer <token>', or one 'X-API-Key'".into())
}
