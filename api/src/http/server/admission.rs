//! Who gets a connection: everybody some, nobody all, and health always.
//!
//! One rule: a connection beyond a bound is not left waiting. It is told which bound that is, or closed at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ServerOptions;
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::shares::{Holder, Place, Shares};

/// How long a peer on a place of the reserve may take to send its request's header.
const HASTE: Duration = Duration::from_secs(2);
/// The part of the reserve that one address may have.
const RESERVE_PARTS: usize = 8;

/// All places for connections.
pub(super) struct Admissions {
    all: Arc<Semaphore>,
    of_address: Shares,
    reserve: Arc<Semaphore>,
    reserve_of_address: Shares,
    reserved_for: &'static [&'static str],
}

/// The place of one connection, until it is dropped.
pub(super) struct Admission {
    _permit: OwnedSemaphorePermit,
    _of_address: Place,
    /// What a request is told on a place of the reserve.
    refusal: Option<Refusal>,
}

/// Why a connection has a place of the reserve only.
#[derive(Clone)]
struct Refusal {
    status: StatusCode,
    detail: String,
    reserved_for: &'static [&'static str],
}

impl Admissions {
    pub(super) fn new(options: &ServerOptions) -> Self {
        Self {
            all: Arc::new(Semaphore::new(options.connections)),
            of_address: Shares::new(options.connections_per_address),
            reserve: Arc::new(Semaphore::new(options.reserve)),
            reserve_of_address: Shares::new(options.reserve / RESERVE_PARTS),
            reserved_for: options.reserved_for,
        }
    }

    /// A place for a connection from `address`; `None` when not even the reserve has one.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admission> {
        let address = Holder::at(address);
        let (status, detail) = match self.of_address.take(&address) {
            Some(of_address) => match Arc::clone(&self.all).try_acquire_owned() {
                Ok(permit) => {
                    return Some(Admission {
                        _permit: permit,
                        _of_address: of_address,
                        refusal: None,
                    });
                }
                Err(_) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "all connections are taken; try again later".to_owned(),
                ),
            },
            None => {
                let most = self.of_address.most();
                let detail = format!(
                    "at most {most} connections are open at the same time from one address; close one"
                );
                (StatusCode::TOO_MANY_REQUESTS, detail)
            }
        };
        Some(Admission {
            _permit: Arc::clone(&self.reserve).try_acquire_owned().ok()?,
            _of_address: self.reserve_of_address.take(&address)?,
            refusal: Some(Refusal {
                status,
                detail,
                reserved_for: self.reserved_for,
            }),
        })
    }
}

impl Admission {
    /// What a connection with this place is served by: on a place of the reserve by what turns requests away.
    pub(super) fn apply(&self, router: Router, options: ServerOptions) -> (Router, ServerOptions) {
        let Some(refusal) = &self.refusal else {
            return (router, options);
        };
        let router = router.layer(middleware::from_fn_with_state(refusal.clone(), turn_away));
        let header_timeout = options.header_timeout.min(HASTE);
        (
            router,
            ServerOptions {
                header_timeout,
                ..options
            },
        )
    }
}

/// Answers what the reserve is for, refuses the rest, and ends the connection after either.
async fn turn_away(State(refusal): State<Refusal>, request: Request, next: Next) -> Response {
    let mut response = if refusal.reserved_for.contains(&request.uri().path()) {
        next.run(request).await
    } else {
        let problem = Problem::new(refusal.status).detail(refusal.detail);
        let retry_after = Some(RETRY_AFTER);
        Problem {
            retry_after,
            ..problem
        }
        .into_response()
    };
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
