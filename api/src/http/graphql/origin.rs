//! Where a browser's request comes from.
//!
//! One rule: a request that names a foreign origin does nothing here, whatever credentials the browser
//! adds to it. Programs send no `Origin` and are not concerned.

use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::{StatusCode, uri::Authority};
use url::Url;

use super::rejection::Rejection;

/// Lets pass requests without an origin, from the server's own origin and from those allowed.
pub(super) fn check(parts: &Parts, allowed: &[String]) -> Result<(), Rejection> {
    const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let foreign = || {
        let message =
            "requests from this origin are not allowed; its owner can add it to the allowed origins";
        Err(Rejection::new(StatusCode::FORBIDDEN, message))
    };
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        let cross_site = parts
            .headers
            .get(FETCH_SITE)
            .is_some_and(|site| site == "cross-site");
        return if cross_site { foreign() } else { Ok(()) };
    };
    let Ok(origin) = origin.to_str() else {
        return foreign();
    };
    if origins.next().is_some() {
        return foreign();
    }
    let is_allowed = allowed.iter().any(|entry| entry.eq_ignore_ascii_case(origin));
    if is_allowed || is_own(origin, parts) {
        Ok(())
    } else {
        foreign()
    }
}

/// Whether an origin has the host and port that the request was sent to.
///
/// The scheme is not compared: behind a proxy that ends TLS the server does not know its own.
fn is_own(origin: &str, parts: &Parts) -> bool {
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    let default_port = match origin.scheme() {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = host
        .and_then(|host| host.parse::<Authority>().ok())
        .or_else(|| parts.uri.authority().cloned());
    authority.is_some_and(|own| {
        origin
            .host_str()
            .is_some_and(|host| host.eq_ignore_ascii_case(own.host()))
            && origin.port().unwrap_or(default_port) == own.port_u16().unwrap_or(default_port)
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use axum::http::Request;

    fn passes(host: &str, origin: &str) -> bool {
        let request = Request::builder()
            .uri("/graphql")
            .header("host", host)
            .header("origin", origin);
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&parts, &["https://console.example".to_owned()]).is_ok()
    }

    #[test]
    fn own_and_allowed_origins_pass() {
        assert!(passes("api.example", "https://api.example"));
        assert!(passes("api.example:443", "https://api.example"));
        assert!(passes("127.0.0.1:8080", "http://127.0.0.1:8080"));
        assert!(passes("[::1]:8080", "http://[::1]:8080"));
        assert!(passes("api.example", "https://console.example"));
    }

    #[test]
    fn foreign_origins_do_not() {
        for origin in [
            "https://evil.example",
            "null",
            "https://api.example.evil",
            "https://api.example:444",
            "file://",
            "",
        ] {
            assert!(!passes("api.example", origin), "{origin}");
        }
        assert!(!passes("api.example", "https://console.example.evil"));
    }
}
