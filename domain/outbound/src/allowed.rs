//! What administrators allow besides the public Internet.
//!
//! One rule: an exact origin, or a network; never a pattern of names, and never an address that nobody runs a service at.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use url::Url;

use crate::{
    address::special,
    destination::{Destination, Service},
    error::Refusal,
};

/// One entry of the list.
///
/// Written as `https://minio.internal:9000`, `http://127.0.0.1:11434`, `smtp://mail.internal:25`, or `10.20.0.0/16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This service at this host and port, whatever addresses of inner networks the host has.
    Origin(Destination),
    /// Hosts with addresses of this network: over https and for mail, at the ports that are allowed to all.
    Network(IpNet),
}

/// Why an entry cannot be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowedError {
    /// Neither an origin nor a network.
    #[error("write https://host:port, http://host:port, smtp://host:port, or a network such as 10.20.0.0/16")]
    Unreadable,
    /// More than scheme, host and port.
    #[error("an origin has no path, query, user name or fragment")]
    MoreThanOrigin,
    /// An address, or a network with addresses, that are neither public nor of an inner network.
    #[error("only loopback, private, shared (100.64.0.0/10) and unique-local addresses can be allowed")]
    NeverAllowed,
}

impl FromStr for Allowed {
    type Err = AllowedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text.contains("://") {
            true => origin(text).map(Self::Origin),
            false => network(text).map(Self::Network),
        }
    }
}

fn origin(text: &str) -> Result<Destination, AllowedError> {
    // `smtp` is unknown to the URL standard, which would leave its host as it is written.
    let mail = text.strip_prefix("smtp://");
    let url = match mail {
        Some(rest) => Url::parse(&format!("http://{rest}")),
        None => Url::parse(text),
    };
    let url = url.map_err(|_| AllowedError::Unreadable)?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(AllowedError::MoreThanOrigin);
    }
    let mut found = Destination::of(&url).map_err(|refusal| match refusal {
        Refusal::Scheme | Refusal::Host => AllowedError::Unreadable,
        _ => AllowedError::NeverAllowed,
    })?;
    if mail.is_some() {
        found.service = Service::Smtp;
        found.port = url.port().unwrap_or(25);
    }
    match found.literal().is_none_or(can_be_allowed) {
        true => Ok(found),
        false => Err(AllowedError::NeverAllowed),
    }
}

fn network(text: &str) -> Result<IpNet, AllowedError> {
    let found = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| AllowedError::Unreadable)?,
    };
    // The ends say it for the whole: no network of the registry lies inside of one that can be allowed, but metadata
    // addresses, which stay refused.
    let ends = [found.network(), found.broadcast()];
    let inner = |address| special(address).is_some_and(crate::address::Special::can_be_allowed);
    let same = special(ends[0]) == special(ends[1]);
    match same && ends.into_iter().all(inner) {
        true => Ok(found.trunc()),
        false => Err(AllowedError::NeverAllowed),
    }
}

fn can_be_allowed(address: IpAddr) -> bool {
    special(address).is_none_or(crate::address::Special::can_be_allowed)
}
