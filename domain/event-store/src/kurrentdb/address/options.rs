//! The options of a connection string, under the names that KurrentDB's clients document.
//!
//! The rule: each is read once, in one place, and an option is either used, refused, or named as without effect.

use std::{path::PathBuf, time::Duration};

use super::{AddressError, decoded};

/// The shortest interval of keep-alive pings that the clients allow; servers cut off who pings more often.
const SHORTEST_KEEP_ALIVE: u64 = 10_000;

/// What an option is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Label,
    DefaultDeadline,
    DiscoveryInterval,
    GossipTimeout,
    KeepAliveInterval,
    KeepAliveTimeout,
    MaxDiscoverAttempts,
    NodePreference,
    ThrowOnAppendFailure,
    Tls,
    TlsCaFile,
    TlsVerifyCert,
    UserCertFile,
    UserKeyFile,
}

/// All options, as the clients write them.
const NAMES: [(Kind, &str); 14] = [
    (Kind::Label, "connectionName"),
    (Kind::DefaultDeadline, "defaultDeadline"),
    (Kind::DiscoveryInterval, "discoveryInterval"),
    (Kind::GossipTimeout, "gossipTimeout"),
    (Kind::KeepAliveInterval, "keepAliveInterval"),
    (Kind::KeepAliveTimeout, "keepAliveTimeout"),
    (Kind::MaxDiscoverAttempts, "maxDiscoverAttempts"),
    (Kind::NodePreference, "nodePreference"),
    (Kind::ThrowOnAppendFailure, "throwOnAppendFailure"),
    (Kind::Tls, "tls"),
    (Kind::TlsCaFile, "tlsCaFile"),
    (Kind::TlsVerifyCert, "tlsVerifyCert"),
    (Kind::UserCertFile, "userCertFile"),
    (Kind::UserKeyFile, "userKeyFile"),
];

/// The names of all options, for an error.
pub(super) fn known() -> String {
    NAMES.map(|(_, name)| name).join(", ")
}

/// What the options of an address say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kurrentdb) struct Options {
    /// `tls`.
    pub(in crate::kurrentdb) secure: bool,
    /// `tlsCaFile`; the system's authorities without it.
    pub(in crate::kurrentdb) ca_file: Option<PathBuf>,
    /// `userCertFile` and `userKeyFile`.
    pub(in crate::kurrentdb) identity: Option<(PathBuf, PathBuf)>,
    /// `defaultDeadline`, if it ends.
    pub(in crate::kurrentdb) deadline: Option<Duration>,
    /// `keepAliveInterval`; `None`: no pings.
    pub(in crate::kurrentdb) keep_alive_interval: Option<Duration>,
    /// `keepAliveTimeout`; `None`: without end.
    pub(in crate::kurrentdb) keep_alive_timeout: Option<Duration>,
    /// `connectionName`, told to the server with each call.
    pub(in crate::kurrentdb) connection_name: Option<String>,
    /// Options that were given and have no effect.
    pub(in crate::kurrentdb) without_effect: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        let keep_alive = Some(Duration::from_millis(SHORTEST_KEEP_ALIVE));
        Self {
            secure: true,
            ca_file: None,
            identity: None,
            deadline: None,
            keep_alive_interval: keep_alive,
            keep_alive_timeout: keep_alive,
            connection_name: None,
            without_effect: Vec::new(),
        }
    }
}

/// What is checked once all options are read.
#[derive(Default)]
struct Loose {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// `tlsVerifyCert=false`.
    unverified: bool,
}

impl Options {
    /// Reads what follows the question mark.
    ///
    /// # Errors
    /// [`AddressError`].
    pub(super) fn read(text: &str) -> Result<Self, AddressError> {
        let (mut read, mut loose, mut seen) = (Self::default(), Loose::default(), Vec::new());
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (given, value) = option.split_once('=').ok_or(AddressError::Form)?;
            let (name, written) = find(given, text)?;
            if seen.contains(&name) {
                return Err(AddressError::Twice(written));
            }
            seen.push(name);
            read.take(name, written, decoded(value)?, &mut loose)?;
        }
        read.identity = match (loose.certificate, loose.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(AddressError::HalfIdentity),
        };
        if read.secure && loose.unverified {
            return Err(AddressError::Unverified);
        }
        if !read.secure {
            let files = [Kind::TlsCaFile, Kind::UserCertFile, Kind::UserKeyFile];
            let given = NAMES
                .iter()
                .filter(|(name, _)| files.contains(name) && seen.contains(name));
            read.without_effect.extend(given.map(|(_, written)| *written));
        }
        Ok(read)
    }

    fn take(
        &mut self,
        kind: Kind,
        option: &'static str,
        value: String,
        loose: &mut Loose,
    ) -> Result<(), AddressError> {
        match kind {
            Kind::Tls => self.secure = yes_or_no(option, &value)?,
            Kind::TlsVerifyCert => loose.unverified = !yes_or_no(option, &value)?,
            Kind::TlsCaFile => self.ca_file = Some(path(option, value)?),
            Kind::UserCertFile => loose.certificate = Some(path(option, value)?),
            Kind::UserKeyFile => loose.key = Some(path(option, value)?),
            Kind::DefaultDeadline => self.deadline = millis(option, &value, 1, FROM_ONE)?,
            Kind::KeepAliveInterval => self.keep_alive_interval = keep_alive(option, &value)?,
            Kind::KeepAliveTimeout => self.keep_alive_timeout = keep_alive(option, &value)?,
            Kind::Label => self.connection_name = Some(label(option, value)?),
            Kind::NodePreference => leader(option, &value)?,
            // How a client finds the leader by gossip. Here whichever node answers says who leads.
            Kind::MaxDiscoverAttempts | Kind::DiscoveryInterval | Kind::GossipTimeout => {
                millis(option, &value, 0, FROM_ZERO)?;
                self.without_effect.push(option);
            }
            // Whether a client throws for a conflict, or returns it.
            Kind::ThrowOnAppendFailure => {
                yes_or_no(option, &value)?;
                self.without_effect.push(option);
            }
        }
        Ok(())
    }
}

/// The option called `given`, in any case. A name is repeated only where it cannot be part of a password.
fn find(given: &str, all: &str) -> Result<(Kind, &'static str), AddressError> {
    if let Some(found) = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(given)) {
        return Ok(*found);
    }
    let is_word =
        (1..=32).contains(&given.len()) && given.chars().all(|letter| letter.is_ascii_alphanumeric());
    match is_word && !all.contains('@') {
        true => Err(AddressError::UnknownOption(given.to_owned())),
        false => Err(AddressError::Form),
    }
}

const FROM_ZERO: &str = "a whole number, or -1 for none";
const FROM_ONE: &str = "milliseconds, 1 at least, or -1 for no deadline";

fn yes_or_no(option: &'static str, value: &str) -> Result<bool, AddressError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(AddressError::Value {
            option,
            accepted: "true or false",
        }),
    }
}

/// -1 means none.
fn millis(
    option: &'static str,
    value: &str,
    least: u64,
    accepted: &'static str,
) -> Result<Option<Duration>, AddressError> {
    let number: Option<u64> = match value {
        "-1" => return Ok(None),
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    match number.filter(|millis| *millis >= least) {
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => Err(AddressError::Value { option, accepted }),
    }
}

fn keep_alive(option: &'static str, value: &str) -> Result<Option<Duration>, AddressError> {
    millis(
        option,
        value,
        SHORTEST_KEEP_ALIVE,
        "milliseconds, 10000 at least, or -1 for none",
    )
}

fn path(option: &'static str, value: String) -> Result<PathBuf, AddressError> {
    match value.is_empty() || value.contains('\0') {
        true => Err(AddressError::Value {
            option,
            accepted: "the path of a file",
        }),
        false => Ok(value.into()),
    }
}

/// It travels in a header.
fn label(option: &'static str, value: String) -> Result<String, AddressError> {
    match !value.is_empty() && value.chars().all(|letter| (' '..='~').contains(&letter)) {
        true => Ok(value),
        false => Err(AddressError::Value {
            option,
            accepted: "printable ASCII",
        }),
    }
}

fn leader(option: &'static str, value: &str) -> Result<(), AddressError> {
    match value.eq_ignore_ascii_case("leader") {
        true => Ok(()),
        false => Err(AddressError::Value {
            option,
            accepted: "leader alone: what is acknowledged must be seen by the next read",
        }),
    }
}
