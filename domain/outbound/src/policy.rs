//! Who may be called.
//!
//! One rule: the public Internet over TLS, and what an administrator has allowed by name; nothing else. A policy only
//! decides: whoever connects asks it for the origin first, and then for every address.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    address::{Special, canonical, special, translated},
    allowed::Allowed,
    destination::{Destination, Service},
    error::Refusal,
};

/// Ports from here on are not set aside for services of the system.
const FIRST_USER_PORT: u16 = 1024;
/// Ports from 1024 on that speak something else; from the list of bad ports in the Fetch standard (2.9), and the ports of
/// databases that take commands in lines.
const OTHER_PROTOCOLS: [u16; 19] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669,
    6697, 11211,
];
/// Submission, relaying, and what providers use where those are closed.
const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];

/// Who may be called. The default is the public Internet over https, and nothing else.
///
/// - https to port 443, and to ports from 1024 on that no other protocol is known for. Other ports as exact origins.
/// - http to exact origins that are allowed; in development to loopback too.
/// - Mail to ports 25, 465, 587 and 2525, and to exact origins.
/// - Addresses: public ones; those of inner networks by an allowed origin or network. Link-local addresses, those of
///   metadata services, multicast, reserved ones and embeddings are never allowed.
/// - What [`Policy::forbid`] names is refused whatever else is allowed.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allowed: Vec<Allowed>,
    forbidden: Vec<IpNet>,
    development: bool,
}

impl Policy {
    /// As the default, with loopback over http and https at the ports that https may have. Not for production.
    #[must_use]
    pub fn development() -> Self {
        Self {
            development: true,
            ..Self::default()
        }
    }

    /// Allows one thing more.
    #[must_use]
    pub fn allow(mut self, allowed: Allowed) -> Self {
        self.allowed.push(allowed);
        self
    }

    /// Forbids addresses that would be public: those of this installation itself.
    #[must_use]
    pub fn forbid(mut self, network: IpNet) -> Self {
        self.forbidden.push(network);
        self
    }

    /// Whether `destination` may be called as far as can be told without a lookup: service, port, and the address of a
    /// host that is written as one.
    ///
    /// # Errors
    /// [`Refusal::PlainHttp`], [`Refusal::Port`], [`Refusal::Address`].
    pub fn check(&self, destination: &Destination) -> Result<(), Refusal> {
        if destination.service == Service::Http && !self.development && !self.is_origin(destination) {
            return Err(Refusal::PlainHttp);
        }
        if !self.is_origin(destination) && !may_have_port(destination) {
            return Err(Refusal::Port(destination.port));
        }
        destination
            .literal()
            .map_or(Ok(()), |address| self.judge(destination, address).map(drop))
    }

    /// Whether `address` may be connected to for `destination`: the address to use.
    ///
    /// # Errors
    /// [`Refusal::Address`], or [`Refusal::PlainHttp`] where only loopback is allowed in the clear.
    pub fn judge(&self, destination: &Destination, address: IpAddr) -> Result<IpAddr, Refusal> {
        let address = canonical(address);
        let forbidden = |address: &IpAddr| self.forbidden.iter().any(|network| network.contains(address));
        if forbidden(&address) || translated(address).is_some_and(|address| forbidden(&address)) {
            return Err(Refusal::Address(Special::Forbidden));
        }
        let found = special(address);
        let origin = self.is_origin(destination);
        if let Some(found) = found
            && !(found.can_be_allowed() && (origin || self.is_inner(found, address)))
        {
            return Err(Refusal::Address(found));
        }
        match destination.service == Service::Http && !origin && found != Some(Special::Loopback) {
            true => Err(Refusal::PlainHttp),
            false => Ok(address),
        }
    }

    fn is_origin(&self, destination: &Destination) -> bool {
        let is = |allowed: &Allowed| matches!(allowed, Allowed::Origin(origin) if origin == destination);
        self.allowed.iter().any(is)
    }

    fn is_inner(&self, found: Special, address: IpAddr) -> bool {
        let is = |allowed: &Allowed| matches!(allowed, Allowed::Network(net) if net.contains(&address));
        (self.development && found == Special::Loopback) || self.allowed.iter().any(is)
    }
}

fn may_have_port(destination: &Destination) -> bool {
    let port = destination.port;
    let user = port >= FIRST_USER_PORT && !OTHER_PROTOCOLS.contains(&port);
    match destination.service {
        Service::Https => port == 443 || user,
        Service::Http => port == 80 || user,
        Service::Smtp => MAIL_PORTS.contains(&port),
    }
}
