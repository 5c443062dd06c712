//! What an address is good for: public, or set aside for something else.
//!
//! One rule: an address is what a packet to it reaches. One that carries another (mapped, translated, tunnelled) is
//! what it carries, and an IPv6 address is public only inside of what IANA has given out as global unicast.
//!
//! Sources: RFC 6890 and the IANA registries of special-purpose addresses (IPv4, IPv6) that it founds; RFC 4291
//! (mapped, compatible), RFC 6052 and 8215 (NAT64), RFC 3056 and 7526 (6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Why an address is not one of the public Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Special {
    /// "This network" (`0.0.0.0/8`, `::`): a connection to it reaches this machine.
    Unspecified,
    /// This machine (`127.0.0.0/8`, `::1`).
    Loopback,
    /// A private network (RFC 1918).
    Private,
    /// Between a provider and its customers (`100.64.0.0/10`, RFC 6598).
    Shared,
    /// A private network of IPv6 (`fc00::/7`, RFC 4193).
    UniqueLocal,
    /// The same link only (`169.254.0.0/16`, `fe80::/10`).
    LinkLocal,
    /// Where a cloud hands out credentials of the machine.
    Metadata,
    /// For texts (RFC 5737, 3849, 9637).
    Documentation,
    /// For measurements of devices (RFC 2544, 5180).
    Benchmarking,
    /// Many receivers.
    Multicast,
    /// Carries an IPv4 address that is none of the public Internet, or does so in a way that nobody needs any more.
    Transition,
    /// Set aside by IANA, or not given out.
    Reserved,
    /// Forbidden by the administrators.
    Forbidden,
}

impl Special {
    /// Whether administrators may allow it: networks that an installation runs services in. All else is a mistake or
    /// an attack, whoever allows it.
    #[must_use]
    pub fn can_be_allowed(self) -> bool {
        matches!(
            self,
            Self::Loopback | Self::Private | Self::Shared | Self::UniqueLocal
        )
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// The first that contains an address says what it is.
pub(crate) const V4: [(Ipv4Net, Special); 20] = [
    // Alibaba, and Azure's wire server: inside of networks that are allowed, or public.
    (v4(100, 100, 100, 200, 32), Special::Metadata),
    (v4(168, 63, 129, 16, 32), Special::Metadata),
    (v4(169, 254, 169, 254, 32), Special::Metadata),
    (v4(0, 0, 0, 0, 8), Special::Unspecified),
    (v4(10, 0, 0, 0, 8), Special::Private),
    (v4(100, 64, 0, 0, 10), Special::Shared),
    (v4(127, 0, 0, 0, 8), Special::Loopback),
    (v4(169, 254, 0, 0, 16), Special::LinkLocal),
    (v4(172, 16, 0, 0, 12), Special::Private),
    // IETF protocol assignments; Oracle's cloud has its metadata at 192.0.0.192.
    (v4(192, 0, 0, 0, 24), Special::Reserved),
    (v4(192, 0, 2, 0, 24), Special::Documentation),
    // The relays of 6to4, withdrawn by RFC 7526.
    (v4(192, 88, 99, 0, 24), Special::Transition),
    (v4(192, 168, 0, 0, 16), Special::Private),
    // Name servers that answer for private networks (AS112).
    (v4(192, 31, 196, 0, 24), Special::Reserved),
    (v4(192, 175, 48, 0, 24), Special::Reserved),
    (v4(198, 18, 0, 0, 15), Special::Benchmarking),
    (v4(198, 51, 100, 0, 24), Special::Documentation),
    (v4(203, 0, 113, 0, 24), Special::Documentation),
    (v4(224, 0, 0, 0, 4), Special::Multicast),
    (v4(240, 0, 0, 0, 4), Special::Reserved),
];

/// As [`V4`]; embeddings are looked at before, and what is outside of `2000::/3` is reserved.
const V6: [(Ipv6Net, Special); 12] = [
    (v6(0x64, 0xff9b, 1, 48), Special::Transition),
    (v6(0xfe80, 0, 0, 10), Special::LinkLocal),
    (v6(0xfc00, 0, 0, 7), Special::UniqueLocal),
    (v6(0xff00, 0, 0, 8), Special::Multicast),
    (v6(0x2002, 0, 0, 16), Special::Transition),
    (v6(0x2001, 0, 0, 32), Special::Transition),
    (v6(0x2001, 2, 0, 48), Special::Benchmarking),
    (v6(0x2001, 0xdb8, 0, 32), Special::Documentation),
    (v6(0x3fff, 0, 0, 20), Special::Documentation),
    (v6(0x2001, 0, 0, 23), Special::Reserved),
    (v6(0x2620, 0x4f, 0x8000, 48), Special::Reserved),
    // 6bone, given back (RFC 3701).
    (v6(0x3ffe, 0, 0, 16), Special::Reserved),
];

const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
/// Metadata of AWS and Google, inside of what is allowed as a private network.
const METADATA: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The address that the system really connects to: an IPv4 address mapped into IPv6 is that IPv4 address.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address that a packet to `address` reaches where the network translates (NAT64).
pub(crate) fn translated(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(address) if NAT64.contains(&address) => Some(last_v4(address).into()),
        _ => None,
    }
}

/// What `address` is set aside for; `None` for one of the public Internet.
#[must_use]
pub fn special(address: IpAddr) -> Option<Special> {
    match canonical(address) {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let found = V4.iter().find(|(net, _)| net.contains(&address));
    found.map(|(_, special)| *special)
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    if address.is_unspecified() {
        return Some(Special::Unspecified);
    }
    if address.is_loopback() {
        return Some(Special::Loopback);
    }
    if METADATA.contains(&address) {
        return Some(Special::Metadata);
    }
    if NAT64.contains(&address) {
        return special_v4(last_v4(address)).map(|_| Special::Transition);
    }
    if let Some((_, special)) = V6.iter().find(|(net, _)| net.contains(&address)) {
        return Some(*special);
    }
    if !GLOBAL_UNICAST.contains(&address) {
        // The compatible ones (`::a.b.c.d`) and the translated ones (`::ffff:0:a.b.c.d`) are here too.
        return Some(Special::Reserved);
    }
    is_isatap(address).then_some(Special::Transition)
}

/// The IPv4 address in the last 32 bits.
fn last_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// Whether the lower half says "tunnel to this IPv4 address" (RFC 5214, section 6.1). A public one is of no use either.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, flags, marker, ..] = address.segments();
    marker == 0x5efe && matches!(flags, 0 | 0x200)
}
