//! Who asks.

use std::net::IpAddr;

use domain::{
    authz::{Circumstances, Principal, UserPrincipal},
    event_store::Metadata,
    id::SessionId,
};
use time::OffsetDateTime;

use crate::http::shares::Holder;

/// Who asks, as far as one request goes.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The actor.
    pub principal: Principal,
    /// When the access token runs out.
    pub expires_at: Option<OffsetDateTime>,
    /// Recorded with what the caller brings about.
    pub meta: Metadata,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// The account, if somebody is signed in.
    #[must_use]
    pub fn user(&self) -> Option<&UserPrincipal> {
        match &self.principal {
            Principal::User(user) => Some(user),
            Principal::Anonymous | Principal::Worker(_) | Principal::System(_) => None,
        }
    }

    /// The circumstances of a request of this caller at `now`, for the access decision.
    #[must_use]
    pub fn circumstances(&self, now: OffsetDateTime) -> Circumstances {
        Circumstances::at(now).from(self.meta.address.clone())
    }

    /// The account as the holder of bounded places.
    #[must_use]
    pub fn account(&self) -> Option<Holder> {
        self.user().map(|user| Holder::Account(user.user.to_string()))
    }

    /// The session of the request.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.user().and_then(|user| user.session)
    }
}
