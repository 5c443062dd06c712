//! Which media types an answer may have (GraphQL over HTTP, "Media Types"; RFC 9110, 12.5.1).

use axum::http::header;
use axum::http::{HeaderMap, HeaderValue};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: status codes speak of the GraphQL request.
    GraphqlResponse,
    /// `application/json`: 200 for every well-formed request, as old clients expect.
    Json,
    /// `text/event-stream`.
    EventStream,
}

impl Media {
    /// The value of `Content-Type` for an answer in this form.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::EventStream => "text/event-stream",
        })
    }

    /// What a media range of `Accept` stands for here, and how closely it names it.
    fn of_range(range: &str) -> Option<(Self, u8)> {
        match range {
            "application/graphql-response+json" => Some((Self::GraphqlResponse, 2)),
            "application/json" => Some((Self::Json, 2)),
            "text/event-stream" => Some((Self::EventStream, 2)),
            "application/*" => Some((Self::Json, 1)),
            "*/*" => Some((Self::Json, 0)),
            _ => None,
        }
    }
}

/// The form that the client likes best; of equals the one named more closely, then the one named first. Without
/// `Accept` it is JSON. `None` when the client accepts nothing that the endpoint offers.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Media> {
    if !headers.contains_key(header::ACCEPT) {
        return Some(Media::Json);
    }
    let ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    let mut best: Option<(u16, u8, Media)> = None;
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let Some((media, closeness)) = parts.next().as_deref().and_then(Media::of_range) else {
            continue;
        };
        let Some(quality) = quality(parts) else { continue };
        if quality > 0 && best.is_none_or(|(q, c, _)| (quality, closeness) > (q, c)) {
            best = Some((quality, closeness, media));
        }
    }
    best.map(|(_, _, media)| media)
}

/// The weight of a media range in thousandths; `None` when a parameter asks for what the endpoint does not offer.
fn quality(parameters: impl Iterator<Item = String>) -> Option<u16> {
    let mut quality = 1_000;
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((&parameter, ""));
        match name {
            "q" => quality = (value.parse::<f32>().ok()?.clamp(0.0, 1.0) * 1_000.0) as u16,
            "charset" if !is_utf8(value) => return None,
            _ => {}
        }
    }
    Some(quality)
}

/// Whether a `charset` parameter names UTF-8.
pub(super) fn is_utf8(charset: &str) -> bool {
    let charset = charset.trim_matches('"');
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

#[cfg(test)]
mod tests {
    use super::{Media, negotiate};
    use axum::http::{HeaderMap, HeaderValue, header};

    fn accept(value: &'static str) -> Option<Media> {
        negotiate(&HeaderMap::from_iter([(
            header::ACCEPT,
            HeaderValue::from_static(value),
        )]))
    }

    #[test]
    fn the_best_liked_form_is_taken() {
        assert_eq!(accept("*/*"), Some(Media::Json));
        assert_eq!(
            accept("application/graphql-response+json"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(
            accept("application/json, application/graphql-response+json"),
            Some(Media::Json)
        );
        assert_eq!(
            accept("application/graphql-response+json, application/json;q=0.9"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(
            accept("*/*, application/graphql-response+json"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(
            accept("application/json;q=0.1, text/event-stream"),
            Some(Media::EventStream)
        );
        assert_eq!(accept("text/html, application/*;q=0.5"), Some(Media::Json));
    }

    #[test]
    fn what_the_door_has_not_is_not_acceptable() {
        for value in [
            "text/html",
            "application/json;q=0",
            "application/json; charset=latin1",
            "",
        ] {
            assert_eq!(accept(value), None, "{value}");
        }
    }
}
