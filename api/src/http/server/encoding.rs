//! Which answers are compressed, and for whom.
//!
//! One rule: what has an entity tag or ranges goes out byte for byte. Both speak of the bytes that are sent (RFC 9110,
//! 8.8.3 and 14.1), so a compressed download would need a tag of its own, and could not be gone on with after a break;
//! and weights do not get smaller.

use axum::Router;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

/// Puts compression around a router: gzip, for clients that take it.
pub(super) fn compressed(router: Router) -> Router {
    let layer = CompressionLayer::new().compress_when(DefaultPredicate::new().and(may_be_compressed));
    router.layer(layer).layer(middleware::from_fn(settle))
}

/// Besides the layer's own exceptions: small answers, images, event streams, partial content.
fn may_be_compressed(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let bytes = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/octet-stream");
    !bytes && !headers.contains_key(header::ETAG) && !headers.contains_key(header::ACCEPT_RANGES)
}

/// Leaves of `Accept-Encoding` the one thing that the layer is to know. A client that wants only codings that there
/// are not (`br, identity;q=0`) gets the answer without any, as RFC 9110, 12.5.3 allows; the layer would call it 406,
/// although a mutation had been run by then.
async fn settle(mut request: Request, next: Next) -> Response {
    let gzip = takes_gzip(request.headers());
    let headers = request.headers_mut();
    headers.remove(header::ACCEPT_ENCODING);
    if gzip {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    next.run(request).await
}

/// Whether gzip is wanted at least as much as no coding at all (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let values = values.map(|value| value.to_str().unwrap_or_default());
    for (coding, quality) in values.flat_map(|value| value.split(',')).filter_map(coding) {
        match coding.as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// A coding and its weight; `None` when it is malformed.
fn coding(text: &str) -> Option<(String, f32)> {
    let (coding, weight) = text.split_once(';').unwrap_or((text, "q=1"));
    let (name, value) = weight.split_once('=')?;
    let value: f32 = value.trim().parse().ok()?;
    let fits = name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value);
    fits.then(|| (coding.trim().to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    use super::takes_gzip;
    use axum::http::{HeaderMap, HeaderValue, header};

    fn takes(values: &[&'static str]) -> bool {
        let values = values
            .iter()
            .map(|value| (header::ACCEPT_ENCODING, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        headers.extend(values.map(|(name, value)| (Some(name), value)));
        takes_gzip(&headers)
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for value in [
            "gzip",
            "GZIP",
            "x-gzip",
            "*",
            "*;q=0.1",
            "gzip;q=0.001",
            "gzip;q=1.000, identity",
            "deflate, gzip;q=0.5, br",
            "identity;q=0.5, *;q=0.5",
            "identity;q=0, gzip",
            "br;q=1.0, gzip;q=0.8, *;q=0.1",
        ] {
            assert!(takes(&[value]), "{value}");
        }
        assert!(takes(&["br", "gzip"]), "in two lines");
    }

    #[test]
    fn nobody_else_gets_it() {
        for value in [
            "",
            "identity",
            "deflate",
            "br, zstd",
            "gzip;q=0",
            "gzip;q=0.000, *",
            "*;q=0",
            "identity, gzip;q=0.5",
            "identity;q=0",
            "gzip;q=2",
            "gzip;q=NaN",
            "gzip;level=9",
            ";;;,,=",
        ] {
            assert!(!takes(&[value]), "{value}");
        }
        assert!(!takes(&[]));
    }
}
