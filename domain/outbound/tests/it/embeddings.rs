//! The judgement of addresses, over all of them.
//!
//! One rule: what is forbidden is forbidden in every form that carries it; the table here is written anew from the
//! registries and not taken from the crate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outbound::{Destination, Policy, Service, address::special};
use proptest::prelude::*;

/// First and last address of everything that RFC 6890 and IANA's registry set aside.
const SET_ASIDE: [(&str, &str); 17] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
];

fn bounds(at: usize) -> (u32, u32) {
    let number = |text: &str| u32::from(text.parse::<Ipv4Addr>().expect("an address"));
    (number(SET_ASIDE[at].0), number(SET_ASIDE[at].1))
}

fn is_set_aside(address: u32) -> bool {
    (0..SET_ASIDE.len()).any(|at| (bounds(at).0..=bounds(at).1).contains(&address))
}

/// Every form in which an IPv4 address can stand in an IPv6 address.
fn embeddings(address: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let v6 = |segments: [u16; 8]| Ipv6Addr::from(segments);
    vec![
        address.to_ipv6_mapped(),
        v6([0, 0, 0, 0, 0, 0, high, low]), // compatible, RFC 4291 2.5.5.1
        v6([0, 0, 0, 0, 0xffff, 0, high, low]), // translated, RFC 2765
        v6([0x64, 0xff9b, 0, 0, 0, 0, high, low]), // NAT64, RFC 6052
        v6([0x64, 0xff9b, 1, 0, 0, 0, high, low]), // NAT64 of a network, RFC 8215
        v6([0x64, 0xff9b, 1, high, low >> 8, low << 8, 0, 0]), // the same with /48
        v6([0x2002, high, low, 0, 0, 0, 0, 1]), // 6to4, RFC 3056
        v6([0x2001, 0, high, low, 0, 0, 0, 0]), // Teredo's server, RFC 4380
        v6([0x2001, 0, 0x4136, 0xe378, 0x8000, 0, !high, !low]), // Teredo's client
        v6([0x2a00, 0x1450, 1, 2, 0, 0x5efe, high, low]), // ISATAP, RFC 5214
        v6([0x2a00, 0x1450, 1, 2, 0x200, 0x5efe, high, low]), // the same, unique
        v6([0xfe80, 0, 0, 0, 0, 0x5efe, high, low]), // the same on the link
    ]
}

fn refused(address: IpAddr) -> bool {
    let literal = Destination::new(Service::Https, &address.to_string(), 443).expect("a host");
    let named = Destination::new(Service::Https, "name.example", 443).expect("a host");
    let policy = Policy::default();
    let both = [
        policy.check(&literal).is_err(),
        policy.judge(&named, address).is_err(),
    ];
    assert_eq!(
        both[0], both[1],
        "{address}: a literal is judged otherwise than an answer"
    );
    assert_eq!(both[0], special(address).is_some(), "{address}");
    both[0]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_set_aside_is_refused_in_every_embedding(range in 0..SET_ASIDE.len(), offset: u32) {
        let (first, last) = bounds(range);
        let span = u64::from(last - first) + 1;
        let within = u32::try_from(u64::from(offset) % span).expect("below the span");
        let address = Ipv4Addr::from(first + within);
        prop_assert!(refused(address.into()), "{address}");
        for embedded in embeddings(address) {
            prop_assert!(refused(embedded.into()), "{address} in {embedded}");
        }
    }

    /// And nothing else of IPv4 is: a guard that refuses everything would pass the test above.
    #[test]
    fn ipv4_is_refused_where_it_is_set_aside_and_nowhere_else(number: u32) {
        prop_assert_eq!(refused(Ipv4Addr::from(number).into()), is_set_aside(number));
    }

    /// Of IPv6 only global unicast can pass, and what translates to a public IPv4 address.
    #[test]
    fn ipv6_passes_in_global_unicast_only(number: u128) {
        let address = Ipv6Addr::from(number);
        let first = address.segments()[0];
        prop_assert!(refused(address.into()) || (0x2000..0x4000).contains(&first), "{address}");
    }

    #[test]
    fn ordinary_global_unicast_passes(low: [u16; 6]) {
        let mut segments = [0x2a00, 0x1450, 0, 0, 0, 0, 0, 0];
        segments[2..].copy_from_slice(&low);
        prop_assume!(segments[5] != 0x5efe);
        prop_assert!(!refused(Ipv6Addr::from(segments).into()));
    }
}

#[test]
fn both_ends_of_each_range_are_refused_and_their_neighbours_are_not() {
    for at in 0..SET_ASIDE.len() {
        let (first, last) = bounds(at);
        for number in [first, last] {
            assert!(
                refused(Ipv4Addr::from(number).into()),
                "{}",
                Ipv4Addr::from(number)
            );
        }
        for number in [first.wrapping_sub(1), last.wrapping_add(1)] {
            let address = Ipv4Addr::from(number);
            assert_eq!(refused(address.into()), is_set_aside(number), "{address}");
        }
    }
}

#[test]
fn a_public_address_behind_nat64_or_mapped_is_what_it_is() {
    for text in [
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
    ] {
        assert!(!refused(text.parse().expect("an address")), "{text}");
    }
}
