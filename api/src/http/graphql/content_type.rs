//! Which media type a request's body has to have.
//!
//! One rule: a body is read only when it says that it is JSON.

use axum::http::header;
use axum::http::{HeaderMap, StatusCode};

use super::media::is_utf8;
use super::rejection::Rejection;

/// Refuses bodies that are not JSON in UTF-8, and bodies whose type is not said: HTML forms of other sites
/// can send those without the browser asking first.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let unsupported = |message: &'static str| Rejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(unsupported("send the body without Content-Encoding"));
    }
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let charset_fits = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => is_utf8(charset),
        _ => true,
    });
    if is_json && charset_fits {
        return Ok(());
    }
    Err(unsupported(
        "send the body as 'Content-Type: application/json', in UTF-8",
    ))
}

#[cfg(test)]
mod tests {
    use super::check_content_type;
    use axum::http::{HeaderMap, HeaderValue, header};

    #[test]
    fn only_json_in_utf8_is_read() {
        let check = |value: &'static str| {
            check_content_type(&HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(value),
            )]))
        };
        for value in [
            "application/json",
            "Application/JSON; Charset=\"UTF-8\"",
            "application/json;charset=utf8",
        ] {
            assert!(check(value).is_ok(), "{value}");
        }
        for value in [
            "text/plain",
            "",
            "application/json; charset=utf-16",
            "application/jsonp",
            "multipart/form-data",
        ] {
            assert!(check(value).is_err(), "{value}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
