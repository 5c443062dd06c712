//! Which part of a file a client wants (RFC 9110, 14).
//!
//! One rule: who goes on with a download gets the bytes that follow those it has, or is told that there are none; a
//! part of another file never.

use std::ops::Range;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::http::problem::Problem;

/// The range was asked for, and there is nothing in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsatisfiable;

impl Unsatisfiable {
    /// 416 with the size of the file (RFC 9110, 15.5.17).
    pub(super) fn into_response(self, size: u64) -> Response {
        let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE).detail(format!(
            "the file has {size} bytes; ask for one range inside of it"
        ));
        let mut response = problem.into_response();
        if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        response
    }
}

/// The part of a file of `size` bytes with the entity tag `etag` that is wanted; `None` for the whole.
///
/// # Errors
/// [`Unsatisfiable`] for a range of bytes that is malformed, outside of the file, or several.
pub(super) fn wanted(
    headers: &HeaderMap,
    size: u64,
    etag: &str,
) -> Result<Option<Range<u64>>, Unsatisfiable> {
    // What was begun may be of another file: then `If-Range` wants this one from its start (13.1.5). Tags here are
    // strong, and files have no date.
    let is_of_another = headers
        .get_all(header::IF_RANGE)
        .iter()
        .any(|begun| begun.as_bytes() != etag.as_bytes());
    let Some(range) = headers.get(header::RANGE).filter(|_| !is_of_another) else {
        return Ok(None);
    };
    let text = range.to_str().map_err(|_| Unsatisfiable)?;
    match text.split_once('=') {
        // Units that are not known must be ignored (14.2).
        Some((unit, _)) if !unit.trim().eq_ignore_ascii_case("bytes") => Ok(None),
        Some((_, ranges)) => one(ranges, size).map(Some).ok_or(Unsatisfiable),
        None => Err(Unsatisfiable),
    }
}

/// One range of bytes inside of `size`: `a-b`, `a-` or `-n`.
fn one(text: &str, size: u64) -> Option<Range<u64>> {
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last) = text.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => size.checked_sub(number(suffix)?.min(size))?..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.checked_add(1)?.min(size),
    };
    (range.start < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::{Unsatisfiable, wanted};
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    const ETAG: &str = "\"tag\"";

    fn headers(of: &[(HeaderName, &'static [u8])]) -> HeaderMap {
        let value = |bytes| HeaderValue::from_bytes(bytes).expect("a value");
        of.iter()
            .map(|(name, bytes)| (name.clone(), value(bytes)))
            .collect()
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, range) in [
            (&b"bytes=0-0"[..], 0..1),
            (b"bytes=5-", 5..10),
            (b"bytes=-3", 7..10),
            (b"bytes=-30", 0..10),
            (b"bytes=2-99", 2..10),
            (b"Bytes=2-99", 2..10),
        ] {
            assert_eq!(
                wanted(&headers(&[(header::RANGE, text)]), 10, ETAG),
                Ok(Some(range))
            );
        }
        for bad in [
            &b"bytes=10-"[..],
            b"bytes=5-4",
            b"bytes=a-b",
            b"bytes=+1-2",
            b"bytes=-0",
            b"bytes=-",
            b"bytes=0-1,3-4",
            b"bytes",
            b"bytes=\xe9",
        ] {
            assert_eq!(
                wanted(&headers(&[(header::RANGE, bad)]), 10, ETAG),
                Err(Unsatisfiable),
                "{bad:?}"
            );
        }
        for whole in [&[][..], &[(header::RANGE, &b"lines=1-2"[..])]] {
            assert_eq!(wanted(&headers(whole), 10, ETAG), Ok(None), "{whole:?}");
        }
    }

    #[test]
    fn what_was_begun_of_another_file_is_begun_again() {
        let begun = |tag| headers(&[(header::RANGE, b"bytes=5-"), (header::IF_RANGE, tag)]);
        assert_eq!(wanted(&begun(b"\"tag\""), 10, ETAG), Ok(Some(5..10)));
        for other in [
            &b"\"other\""[..],
            b"W/\"tag\"",
            b"Mon, 30 Nov 2026 10:00:00 GMT",
            b"tag",
        ] {
            assert_eq!(wanted(&begun(other), 10, ETAG), Ok(None), "{other:?}");
        }
    }
}
