//! Reading a request's body within its bounds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::BodyExt;

use super::rejection::Rejection;

/// Reads a body of at most `limit` bytes within `time`.
///
/// A body that is somewhat longer is read and thrown away before it is refused: a client that still
/// writes when the answer comes sees a broken pipe in place of the 413.
pub(super) async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, Rejection> {
    tokio::time::timeout(time, read_within(body, limit))
        .await
        .unwrap_or_else(|_| {
            Err(Rejection::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ))
        })
}

async fn read_within(mut body: Body, limit: usize) -> Result<Bytes, Rejection> {
    let thrown_away = limit.saturating_mul(8);
    let mut kept = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Rejection::bad_request("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            kept.extend_from_slice(&data);
        } else if length > thrown_away {
            break;
        }
    }
    if length <= limit {
        return Ok(kept.into());
    }
    let message = format!("the body has more than {limit} bytes; split the request or send less");
    Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, message))
}
