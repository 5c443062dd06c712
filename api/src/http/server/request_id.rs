//! The name of one request, the same in its answer, in the log and in errors that hide their cause.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::id::Ids;
use serde::{Serialize, Serializer};

/// The header that carries a request's id, both ways.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken from a client.
const LONGEST: usize = 64;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request: at most 64 letters, digits, `-`, `_` or `.`, so it is safe in logs and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The client's own id when it is a plain token, else a fresh one.
    #[must_use]
    pub fn of(headers: &HeaderMap, ids: &dyn Ids) -> Self {
        let given = headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_plain(text));
        given.map_or_else(|| Self::fresh(ids), |text| Self(text.into()))
    }

    /// An id that no client chose.
    #[must_use]
    pub fn fresh(ids: &dyn Ids) -> Self {
        Self(ids.next().simple().to_string().into())
    }

    /// The id of the request that this task answers; `None` in tasks that were spawned from it.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs the work under this id.
    pub(super) async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header's value; `None` cannot happen with the letters that an id has.
    pub(super) fn header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{HEADER, RequestId};
    use axum::http::{HeaderMap, HeaderValue};
    use domain::id::SystemIds;

    fn of(text: &'static str) -> String {
        let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(text))]);
        RequestId::of(&headers, &SystemIds).to_string()
    }

    #[test]
    fn a_clients_id_is_taken_when_it_is_a_plain_token() {
        assert_eq!(of("trace-01.a_B"), "trace-01.a_B");
    }

    #[test]
    fn other_texts_are_replaced() {
        for text in [
            "",
            "a b",
            "<script>",
            "a\tb",
            "0123456789012345678901234567890123456789012345678901234567890123456789",
        ] {
            assert_ne!(of(text), text);
            assert_eq!(of(text).len(), 32);
        }
    }
}
