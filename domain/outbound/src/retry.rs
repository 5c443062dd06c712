//! When a call is tried again.
//!
//! One rule: only what may safely happen twice is, only after a failure that passes, and never past the call's deadline.
//! The wait is drawn evenly from nothing to an exponentially growing bound ("full jitter"), so that callers who failed
//! together do not come back together; what the server asks for by `Retry-After` (RFC 9110, 10.2.3) is waited for first.

use std::time::{Duration, UNIX_EPOCH};

use domain::clock::Clock;
use http::{HeaderMap, StatusCode, header};
use time::OffsetDateTime;

/// How often and after how long a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// All tries, the first included. At least 1.
    pub tries: u32,
    /// The bound of the first wait; it doubles with each.
    pub first: Duration,
    /// The greatest bound.
    pub longest: Duration,
    /// The longest `Retry-After` that is waited for. A server that asks for more gets no further try: its answer is the
    /// call's.
    pub longest_asked: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 3,
            first: Duration::from_millis(250),
            longest: Duration::from_secs(5),
            longest_asked: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// One try: for callers who try again themselves (`object_store`, process managers).
    #[must_use]
    pub fn none() -> Self {
        Self {
            tries: 1,
            ..Self::default()
        }
    }

    /// How long to wait after the try number `failed` (from 1), or `None` to wait no more. `fraction` is the draw, from 0
    /// to 1; `asked` is what the server asks for.
    pub(crate) fn wait(&self, failed: u32, fraction: f64, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.tries || asked.is_some_and(|asked| asked > self.longest_asked) {
            return None;
        }
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let bound = self.first.saturating_mul(doubled).min(self.longest);
        let drawn = bound.mul_f64(fraction.clamp(0.0, 1.0));
        Some(asked.unwrap_or_default() + drawn)
    }
}

/// Whether an answer says that the same call may succeed later.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// How long the server asks to be left alone: seconds, or an HTTP date, counted from the answer's own `Date` where it has
/// one, so that clocks need not agree. What cannot be read is as if it were not there; what has passed is now.
pub(crate) fn asked(headers: &HeaderMap, clock: &dyn Clock) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number holds are as good as for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = date(text)?;
    let said = headers.get(header::DATE).and_then(|value| value.to_str().ok());
    let now = said.and_then(date).unwrap_or_else(|| seconds(clock.now()));
    Some(Duration::from_secs(at.saturating_sub(now)))
}

/// Seconds since 1970 of an HTTP date, in any of its three forms (RFC 9110, 5.6.7).
fn date(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text).ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::clock::Clock;
    use http::{HeaderMap, HeaderValue, header};
    use time::{OffsetDateTime, macros::datetime};

    use super::{Retry, asked};

    const fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn retry() -> Retry {
        Retry {
            tries: 10,
            first: milliseconds(100),
            longest: milliseconds(1_000),
            longest_asked: Duration::from_secs(30),
        }
    }

    #[test]
    fn the_wait_is_drawn_from_nothing_to_a_bound_that_doubles() {
        for (failed, bound) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (9, 1_000)] {
            assert_eq!(
                retry().wait(failed, 1.0, None),
                Some(milliseconds(bound)),
                "{failed}"
            );
            assert_eq!(retry().wait(failed, 0.5, None), Some(milliseconds(bound / 2)));
            assert_eq!(retry().wait(failed, 0.0, None), Some(Duration::ZERO));
        }
        let often = Retry {
            tries: u32::MAX,
            ..retry()
        };
        assert_eq!(often.wait(1_000_000, 1.0, None), Some(milliseconds(1_000)));
    }

    #[test]
    fn there_are_no_more_tries_than_that() {
        assert_eq!(retry().wait(10, 0.5, None), None);
        assert_eq!(Retry::none().wait(1, 0.5, None), None);
        assert_eq!(Retry { tries: 0, ..retry() }.wait(1, 0.5, None), None);
    }

    #[test]
    fn what_is_asked_for_is_waited_for_first_and_is_bounded() {
        let seconds = Duration::from_secs;
        assert_eq!(retry().wait(1, 0.0, Some(seconds(7))), Some(seconds(7)));
        assert_eq!(
            retry().wait(1, 1.0, Some(seconds(30))),
            Some(milliseconds(30_100))
        );
        assert_eq!(retry().wait(1, 0.0, Some(seconds(31))), None);
    }

    /// A clock that stands at noon of the test's day.
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> OffsetDateTime {
            datetime!(2026-11-30 12:00 UTC)
        }
    }

    fn read(retry_after: &str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from_str(retry_after).expect("a value"),
        );
        if let Some(date) = date {
            headers.insert(header::DATE, HeaderValue::from_static(date));
        }
        asked(&headers, &Noon).map(|asked| asked.as_secs())
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        for (text, date, expected) in [
            ("0", None, Some(0)),
            ("120", None, Some(120)),
            (" 7 ", None, Some(7)),
            ("99999999999999999999", None, Some(u64::from(u32::MAX))),
            ("Mon, 30 Nov 2026 12:00:05 GMT", None, Some(5)),
            ("Monday, 30-Nov-26 12:00:05 GMT", None, Some(5)),
            ("Mon Nov 30 12:00:05 2026", None, Some(5)),
            ("Mon, 30 Nov 2026 11:00:00 GMT", None, Some(0)),
            // The server's own clock is two hours ahead, and counts.
            (
                "Mon, 30 Nov 2026 14:00:05 GMT",
                Some("Mon, 30 Nov 2026 14:00:00 GMT"),
                Some(5),
            ),
            ("Mon, 30 Nov 2026 12:00:05 GMT", Some("yesterday"), Some(5)),
            ("-5", None, None),
            ("1.5", None, None),
            ("", None, None),
            ("soon", None, None),
        ] {
            assert_eq!(read(text, date), expected, "{text:?} with {date:?}");
        }
        assert_eq!(asked(&HeaderMap::new(), &Noon), None);
    }
}
