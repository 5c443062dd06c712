//! What every answer's body goes through on its way out.
//!
//! One rule: a body is never polled after its end, and a panic in it ends that answer and nothing else.
//!
//! Streams may do anything when they are polled after their end (`futures::stream::unfold` panics), and not every
//! layer keeps from that (compression polls once more, for trailers). So no route has to think of it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::panic_message::panic_text;
use super::request_id::RequestId;

/// Guards the body of one answer. The innermost layer, so that no other layer meets a body without it.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let response = next.run(request).await;
    response.map(|inner| {
        Body::new(GuardedBody {
            inner: Some(inner),
            id,
        })
    })
}

/// A body that stays at its end, and whose panics are errors.
struct GuardedBody {
    /// Gone when it has ended, failed or panicked.
    inner: Option<Body>,
    id: Option<RequestId>,
}

impl GuardedBody {
    /// The answer has begun; all that is left is to break it off, so that nobody takes a part for the whole.
    fn broken_off(&self, panic: &(dyn std::any::Any + Send)) -> axum::Error {
        let id = self.id.as_ref().map(tracing::field::display);
        tracing::error!(
            request_id = id,
            panic = panic_text(panic),
            "an answer's body panicked"
        );
        axum::Error::new(io::Error::other("the answer broke off"))
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context)));
        if !matches!(polled, Ok(Poll::Pending | Poll::Ready(Some(Ok(_))))) {
            self.inner = None;
        }
        polled.unwrap_or_else(|panic| Poll::Ready(Some(Err(self.broken_off(&*panic)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::pin::Pin;

    use axum::body::{Body, Bytes, HttpBody};
    use futures::stream;

    use super::GuardedBody;

    fn guarded(inner: Body) -> GuardedBody {
        GuardedBody {
            inner: Some(inner),
            id: None,
        }
    }

    /// What the next frame is: its bytes, `error` or `end`.
    async fn next(body: &mut GuardedBody) -> String {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            Some(Ok(frame)) => {
                let bytes = frame.into_data().expect("no trailers here");
                String::from_utf8(bytes.to_vec()).expect("text")
            }
            Some(Err(_)) => "error".to_owned(),
            None => "end".to_owned(),
        }
    }

    /// FR1: `unfold` panics when it is polled after its end.
    #[tokio::test]
    async fn a_body_is_at_its_end_as_often_as_it_is_asked() {
        let twice = stream::unfold(0, |count| async move {
            (count < 2).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"x")), count + 1))
        });
        let mut body = guarded(Body::from_stream(twice));
        for expected in ["x", "x", "end", "end", "end"] {
            assert_eq!(next(&mut body).await, expected);
        }
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_then_the_end() {
        let panics = stream::once(async { Err::<Bytes, _>(std::io::Error::other(panics())) });
        let mut body = guarded(Body::from_stream(panics));
        for expected in ["error", "end", "end"] {
            assert_eq!(next(&mut body).await, expected);
        }
    }

    #[tokio::test]
    async fn an_error_is_the_last_that_comes() {
        let fails = stream::repeat_with(|| Err::<Bytes, _>(std::io::Error::other("no disk")));
        let mut body = guarded(Body::from_stream(fails));
        for expected in ["error", "end"] {
            assert_eq!(next(&mut body).await, expected);
        }
    }

    fn panics() -> String {
        panic!("a body panics on purpose")
    }
}
