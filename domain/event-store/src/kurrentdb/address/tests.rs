//! Connection strings as the clients document them, and what is refused of them.

use std::{path::PathBuf, time::Duration};

use super::{Address, AddressError, Options, SCHEMES, is_kurrentdb};

fn read(url: &str) -> Address {
    Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn nodes(url: &str) -> Vec<String> {
    read(url).nodes().iter().map(ToString::to_string).collect()
}

#[test]
fn every_scheme_and_several_nodes_are_read() {
    for scheme in SCHEMES {
        let url = format!("{scheme}://a:1,b:2,c?tls=false&defaultDeadline=1500");
        let address = read(&url);
        assert_eq!(nodes(&url), ["a:1", "b:2", "c:2113"]);
        assert_eq!(address.deadline(), Some(Duration::from_millis(1_500)));
        assert!(!address.options.secure);
    }
    assert!(read("ESDB://node").options.secure);
    assert!(!is_kurrentdb("postgres://node/db"));
}

/// The valid addresses of the fixtures of the official client, version 1.2, and those of the documentation, as far as
/// they name what this adapter has.
#[test]
fn hosts_are_read_as_the_official_client_reads_them() {
    for (url, expected) in [
        ("esdb://localhost", vec!["localhost:2113"]),
        ("esdb://localhost:2114", vec!["localhost:2114"]),
        ("esdb://user:pass@localhost:2114/", vec!["localhost:2114"]),
        (
            "esdb://user:pass@localhost:2114?tls=false",
            vec!["localhost:2114"],
        ),
        (
            "esdb://user:pass@localhost:2114/?tls=false",
            vec!["localhost:2114"],
        ),
        (
            "esdb://host1,host2,host3",
            vec!["host1:2113", "host2:2113", "host3:2113"],
        ),
        (
            "esdb://host1:1234,host2:4321,host3:3231",
            vec!["host1:1234", "host2:4321", "host3:3231"],
        ),
        ("esdb://foo:bar@eventstore_db:2115", vec!["eventstore_db:2115"]),
        (
            "kurrentdb+discover://u:p@host?nodePreference=leader",
            vec!["host:2113"],
        ),
        (
            "kurrentdb://10.0.0.1:2113,[::1]:2114,[fe80::1]",
            vec!["10.0.0.1:2113", "[::1]:2114", "[fe80::1]:2113"],
        ),
    ] {
        assert_eq!(nodes(url), expected, "{url}");
    }
}

#[test]
fn options_are_read_in_any_case_and_decoded() {
    let address = read(
        "esdb://host?TLS=true&TlsVerifyCert=true&tlscafile=/etc/a%20b/ca+1@x.crt&USERCERTFILE=foo&userKeyFile=bar\
         &keepAliveInterval=20000&keepAliveTimeout=30000&connectionName=foobar&nOdEpReFeReNcE=leader\
         &defaultDeadline=100000&MaxDiscoverAttempts=200&discoveryinterval=1000&GOSSIPTIMEOUT=1\
         &THROWOnAppendFailure=true",
    );
    let expected = Options {
        ca_file: Some(PathBuf::from("/etc/a b/ca+1@x.crt")),
        identity: Some(("foo".into(), "bar".into())),
        keep_alive_interval: Some(Duration::from_secs(20)),
        keep_alive_timeout: Some(Duration::from_secs(30)),
        connection_name: Some("foobar".to_owned()),
        deadline: Some(Duration::from_secs(100)),
        without_effect: vec![
            "maxDiscoverAttempts",
            "discoveryInterval",
            "gossipTimeout",
            "throwOnAppendFailure",
        ],
        ..Options::default()
    };
    assert_eq!(address.options, expected);
}

#[test]
fn minus_one_means_none_and_the_defaults_are_those_of_the_clients() {
    let none = read("esdb://localhost?keepAliveInterval=-1&keepAliveTimeout=-1&defaultDeadline=-1").options;
    assert_eq!(none.keep_alive_interval, None);
    assert_eq!(none.keep_alive_timeout, None);
    assert_eq!(none.deadline, None);
    let plain = read("esdb://localhost").options;
    assert_eq!(plain, Options::default());
    assert_eq!(plain.keep_alive_interval, Some(Duration::from_secs(10)));
    assert_eq!(plain.keep_alive_timeout, Some(Duration::from_secs(10)));
    assert!(plain.secure);
}

#[test]
fn what_tls_needs_is_without_effect_where_there_is_none() {
    let options = read("esdb://h?tls=false&tlsVerifyCert=false&tlsCaFile=/ca.crt").options;
    assert!(!options.secure);
    assert_eq!(options.without_effect, ["tlsCaFile"]);
}

#[test]
fn a_password_is_decoded_and_never_shown() {
    let address = read("kurrentdb://ad%3Amin:s3%40cret%2F@node:2113");
    let login = address.login.clone().expect("a login");
    assert_eq!(
        (login.name.as_str(), login.password.as_str()),
        ("ad:min", "s3@cret/")
    );
    let shown = format!("{address:?} {:?}", address.options);
    assert!(!shown.contains("s3") && !shown.contains("min"), "{shown}");
    let bare = read("esdb://user@node").login.expect("a login");
    assert_eq!((bare.name.as_str(), bare.password.as_str()), ("user", ""));
    assert!(read("esdb://node").login.is_none());
    // A plus sign and a non-ASCII letter stay what they are.
    let odd = read("esdb://user:a+b%C3%A9@node").login.expect("a login");
    assert_eq!(odd.password.as_str(), "a+bé");
}

fn value(option: &'static str) -> impl Fn(&AddressError) -> bool {
    move |error| matches!(error, AddressError::Value { option: found, .. } if *found == option)
}

#[test]
fn what_cannot_be_used_is_refused_without_repeating_it() {
    for (url, expected) in [
        ("mysql://u:s3cret@h/db", AddressError::Scheme),
        ("esdb://u:s3cret@h:notaport", AddressError::Form),
        ("esdb://u:s3cret@h:1,h:nope", AddressError::Form),
        ("esdb://u:s3cret@h:+1", AddressError::Form),
        ("esdb://u:s3cret@h:0", AddressError::Form),
        ("esdb://u:s3cret@h:65536", AddressError::Form),
        ("esdb://u:s3cret@h:1:2", AddressError::Form),
        ("esdb://u:s3cret@?tls=false", AddressError::Form),
        ("esdb://u:s3cret@h,,g", AddressError::Form),
        ("esdb://u:s3cret@h,", AddressError::Form),
        ("esdb://u:s3cret@[::g]:1", AddressError::Form),
        ("esdb://u:s3cret@[::1", AddressError::Form),
        ("esdb://u:s3cret@h h", AddressError::Form),
        ("esdb://:s3cret@h", AddressError::Form),
        ("esdb://u:s3cret%4@h", AddressError::Form),
        ("esdb://u:s3cret%+4@h", AddressError::Form),
        ("esdb://u:s3cret%FF@h", AddressError::Form),
        ("esdb://u:s3cret@h/path", AddressError::Form),
        ("esdb://u:s3cret@h?tls=false#s3cret", AddressError::Form),
        ("esdb://u:s3cret@h?tls", AddressError::Form),
        ("esdb://u:s3cret@h?tls=false&TLS=true", AddressError::Twice("tls")),
        ("esdb://u:s3cret@h?tlsVerifyCert=false", AddressError::Unverified),
        ("esdb://u:s3cret@h?userCertFile=a", AddressError::HalfIdentity),
        ("esdb://u:s3cret@h?userKeyFile=a", AddressError::HalfIdentity),
        (
            "esdb://u:s3cret@h?dnsLookUpType=s3cret",
            AddressError::UnknownOption("dnsLookUpType".to_owned()),
        ),
    ] {
        let error = Address::parse(url).expect_err(url);
        assert_eq!(error, expected, "{url}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}

#[test]
fn a_value_that_an_option_cannot_have_is_refused_by_the_name_of_the_option() {
    for (option, values) in [
        ("defaultDeadline", &["soon", "0", "-2", "", "1.5", "+5"][..]),
        ("keepAliveInterval", &["kjslkjfds", "-33", "0", "9999"]),
        ("keepAliveTimeout", &["-33", "9999"]),
        ("maxDiscoverAttempts", &["many", "-2"]),
        ("discoveryInterval", &["1s"]),
        ("gossipTimeout", &[""]),
        ("tls", &["yes", "", "1"]),
        ("tlsVerifyCert", &["no"]),
        ("throwOnAppendFailure", &["maybe"]),
        (
            "nodePreference",
            &["follower", "random", "readOnlyReplica", "any"],
        ),
        ("tlsCaFile", &["", "a%00b"]),
        ("userCertFile", &[""]),
        ("userKeyFile", &[""]),
        ("connectionName", &["", "a%0Ab", "%C3%A9"]),
    ] {
        for bad in values {
            let url = format!("esdb://u:s3cret@h?{option}={bad}");
            let error = Address::parse(&url).expect_err(&url);
            assert!(value(option)(&error), "{url}: {error:?}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}

/// A password with a question mark in it ends up where options stand: nothing of it is shown.
#[test]
fn a_password_that_was_not_encoded_is_not_taken_for_an_option() {
    for url in [
        "esdb://u:1?s3cret@h?tls=false",
        "esdb://u:1?s3cret&more=1@h",
        "esdb://u:p@h?s3cret=1&x=@h",
        "esdb://u:1/s3cret@h",
        "esdb://u:1#s3cret@h",
    ] {
        let error = Address::parse(url).expect_err(url);
        assert_eq!(error, AddressError::Form, "{url}");
        assert!(!error.to_string().contains("s3cret"));
    }
}
