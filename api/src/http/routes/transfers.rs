//! Places for uploads and downloads: they last as long as the peer likes.
//!
//! One rule: an account or an address that has its share is refused before a byte is read or sent.

use axum::http::StatusCode;

use crate::app::{AppSettings, Caller};
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::shares::{Holder, Place, Shares};

/// All places. Clones share them.
#[derive(Clone)]
pub(super) struct Transfers {
    of_account: Shares,
    of_address: Shares,
}

/// The place of one transfer, until it is dropped.
pub(super) struct Transfer {
    _places: Vec<Place>,
}

impl Transfers {
    pub(super) fn new(settings: &AppSettings) -> Self {
        Self {
            of_account: Shares::new(settings.transfers_per_account),
            of_address: Shares::new(settings.transfers_per_address),
        }
    }

    /// A place for a transfer of the caller.
    ///
    /// # Errors
    /// 429 with `Retry-After` and the bound that was met.
    pub(super) fn take(&self, caller: &Caller) -> Result<Transfer, Problem> {
        let mut places = Vec::new();
        let holders = [
            (&self.of_account, caller.account()),
            (&self.of_address, caller.address.map(Holder::at)),
        ];
        for (shares, holder) in holders {
            let Some(holder) = holder else { continue };
            places.push(
                shares
                    .take(&holder)
                    .ok_or_else(|| over(shares.most(), holder.noun()))?,
            );
        }
        Ok(Transfer { _places: places })
    }
}

fn over(most: usize, noun: &str) -> Problem {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).detail(format!(
        "at most {most} uploads and downloads run at the same time for one {noun}; wait until one has ended"
    ));
    let retry_after = Some(RETRY_AFTER);
    Problem {
        retry_after,
        ..problem
    }
}
