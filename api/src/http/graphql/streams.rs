//! Places for sockets, event streams and operations: in all, by address and by account.
//!
//! One rule: a refusal says which bound was met and how large it is.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::EndpointOptions;
use super::rejection::Rejection;
use crate::http::shares::{Holder, Place, Shares};

/// All places. Clones share them.
#[derive(Clone)]
pub(super) struct Streams {
    all: Arc<Semaphore>,
    of_address: Shares,
    of_account: Shares,
    operations: Shares,
}

/// The place of one socket or event stream.
pub(super) struct StreamPlace {
    _in_all: OwnedSemaphorePermit,
    _of_address: Option<Place>,
}

impl Streams {
    pub(super) fn new(options: &EndpointOptions) -> Self {
        Self {
            all: Arc::new(Semaphore::new(options.streams)),
            of_address: Shares::new(options.streams_per_address),
            of_account: Shares::new(options.streams_per_account),
            operations: Shares::new(options.operations_per_account),
        }
    }

    /// A place for a socket or event stream of this request.
    ///
    /// # Errors
    /// 429 when its address has its share, 503 when there is none left; both with `Retry-After`.
    pub(super) fn take(&self, parts: &Parts) -> Result<StreamPlace, Rejection> {
        let of_address = match Holder::of(parts) {
            Some(address) => Some(self.of_address.take(&address).ok_or_else(|| {
                let most = self.of_address.most();
                Rejection::over_share(format!(
                    "at most {most} sockets and event streams are open at the same time from one address; close one"
                ))
            })?),
            None => None,
        };
        let in_all = Arc::clone(&self.all).try_acquire_owned();
        let in_all = in_all.map_err(|_| {
            let message = "all places for sockets and event streams are taken; try again later";
            Rejection::new(StatusCode::SERVICE_UNAVAILABLE, message).try_again_later()
        })?;
        Ok(StreamPlace {
            _in_all: in_all,
            _of_address: of_address,
        })
    }

    /// The place among those of its account; none for who is not signed in.
    ///
    /// # Errors
    /// In words, when the account has its share.
    pub(super) fn of_account(&self, account: Option<&Holder>) -> Result<Option<Place>, String> {
        let Some(account) = account else { return Ok(None) };
        let place = self.of_account.take(account).map(Some);
        let most = self.of_account.most();
        place.ok_or_else(|| {
            format!("at most {most} sockets and event streams of one account; close one, then try again")
        })
    }

    /// A place for an operation on a socket.
    ///
    /// # Errors
    /// In words, when its holder has its share.
    pub(super) fn operation(&self, holder: Option<&Holder>) -> Result<Option<Place>, String> {
        let Some(holder) = holder else { return Ok(None) };
        let place = self.operations.take(holder).map(Some);
        place.ok_or_else(|| {
            let (most, noun) = (self.operations.most(), holder.noun());
            format!(
                "at most {most} operations run at the same time on all sockets of one {noun}; complete one"
            )
        })
    }
}
