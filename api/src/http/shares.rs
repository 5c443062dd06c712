//! Shares of what is bounded: how much of it one holder may have at the same time.
//!
//! One rule: nobody takes all. A place is given back when it is dropped, so it cannot be forgotten; memory is bounded by
//! the places that are taken.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

use crate::rate::AddressKey;

/// Who has a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An account, by its id.
    Account(String),
    /// Whoever comes from an address: an IPv4 address or the /64 of an IPv6 address.
    Address(AddressKey),
}

impl Holder {
    /// The holder by address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Address(address.into())
    }

    /// The address that a request came from, as the holder of its places.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(Self::at(peer.0.ip()))
    }

    /// As it stands in a refusal.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Address(_) => "address",
        }
    }
}

/// Places of one kind. Clones share them.
#[derive(Clone, Debug)]
pub struct Shares {
    most: usize,
    taken: Arc<Mutex<HashMap<Holder, usize>>>,
}

impl Shares {
    /// At most `most` places for each holder; at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            taken: Arc::default(),
        }
    }

    /// How many places a holder may have.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// A place for `holder`; `None` when it has its whole share.
    #[must_use]
    pub fn take(&self, holder: &Holder) -> Option<Place> {
        let mut taken = self.lock();
        let places = taken.get(holder).copied().unwrap_or_default();
        if places >= self.most {
            return None;
        }
        taken.insert(holder.clone(), places + 1);
        Some(Place {
            shares: self.clone(),
            holder: holder.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
#[must_use = "a place is given back when it is dropped"]
pub struct Place {
    shares: Shares,
    holder: Holder,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        match taken.get_mut(&self.holder) {
            Some(places) if *places > 1 => *places -= 1,
            _ => drop(taken.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Holder, Shares};

    #[test]
    fn a_holder_has_its_share_and_no_more_and_gives_it_back() {
        let shares = Shares::new(2);
        let (ada, bob) = (Holder::Account("ada".into()), Holder::at([127, 0, 0, 1].into()));
        let first = shares.take(&ada).expect("a place");
        let second = shares.take(&ada).expect("a second");
        assert!(shares.take(&ada).is_none());
        assert!(shares.take(&bob).is_some(), "another holder has an own share");
        drop(first);
        assert!(shares.take(&ada).is_some());
        drop(second);
        assert!(shares.lock().is_empty(), "who has nothing takes no memory");
    }
}
