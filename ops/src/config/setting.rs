//! The types of values and how each is read from text.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use domain::jobs::requirements::is_label;
use event_store::{
    kurrentdb::{Address, is_kurrentdb},
    postgres::{ConnectError, address},
};
use objects::{SecretText, StoreAddress};

/// A type that a key may have.
pub trait Setting: Sized {
    /// What values look like, for the reference.
    const KIND: &'static str;
    /// Whether a value is never printed.
    const SECRET: bool = false;
    /// Reads the text; the error says what is expected, without the text.
    ///
    /// # Errors
    /// A phrase such as "expected a number".
    fn read(text: &str) -> Result<Self, String>;
    /// The value as a number, for keys with a range.
    fn number(&self) -> Option<u64> {
        None
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected true or false".into())
    }
}

impl Setting for u32 {
    const KIND: &'static str = "number";
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a whole number".into())
    }
    fn number(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl Setting for u64 {
    const KIND: &'static str = "number";
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a whole number".into())
    }
    fn number(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Setting for usize {
    const KIND: &'static str = "number";
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a whole number".into())
    }
    fn number(&self) -> Option<u64> {
        u64::try_from(*self).ok()
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "path";
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("expected a path".into())
        } else {
            Ok(text.into())
        }
    }
}

impl Setting for SocketAddr {
    const KIND: &'static str = "address:port";
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "expected an address and a port, such as 127.0.0.1:8080 or [::1]:8080".into())
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl Setting for LogFormat {
    const KIND: &'static str = "human or json";
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("expected human or json".into()),
        }
    }
}

/// Which log lines are written: directives of `tracing-subscriber`'s `EnvFilter`, known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl LogFilter {
    /// What is written unless something else is set.
    pub const USUAL: &str = "info,sqlx=warn";
}

impl Setting for LogFilter {
    const KIND: &'static str = "levels";
    fn read(text: &str) -> Result<Self, String> {
        let good = !text.is_empty() && tracing_subscriber::EnvFilter::try_new(text).is_ok();
        let names = text.split(',').all(|part| {
            let level = part.rsplit('=').next().unwrap_or(part);
            ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
        });
        match good && names {
            true => Ok(Self(text.to_owned())),
            false => {
                Err("expected off, error, warn, info, debug or trace, also by module: info,api=debug".into())
            }
        }
    }
}

/// Origins of web pages: scheme, host and port, nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Vec<String>);

impl Setting for Origins {
    const KIND: &'static str = "list of origins";
    fn read(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(origin).collect::<Result<_, _>>().map(Self)
    }
}

fn origin(text: &str) -> Result<String, String> {
    let refuse =
        || "expected origins such as https://app.example.com, without a path; * is not allowed".to_owned();
    let url = url::Url::parse(text).map_err(|_| refuse())?;
    let origin = url.origin().ascii_serialization();
    let is_web = matches!(url.scheme(), "http" | "https");
    if is_web && origin == text.trim_end_matches('/') {
        Ok(origin)
    } else {
        Err(refuse())
    }
}

/// Labels of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeSet<String>);

impl Setting for Labels {
    const KIND: &'static str = "list of labels";
    fn read(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let read = |part: &str| match is_label(part) {
            true => Ok(part.to_owned()),
            false => Err("expected labels of 1 to 40 of a-z, 0-9, '.', '_' and '-'".to_owned()),
        };
        parts.map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl Setting for workers::registration::devices::DeviceSelection {
    const KIND: &'static str = "auto, cpu, cuda or cuda:NUMBER";
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "expected auto, cpu, cuda, or cuda: with a number, such as cuda:0".to_owned())
    }
}

/// Where a PostgreSQL is, with its password: a secret. `None` when not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PostgresUrl(pub Option<String>);

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "PostgresUrl(secret)"
        } else {
            "PostgresUrl(not set)"
        })
    }
}

impl Setting for PostgresUrl {
    const KIND: &'static str = "postgres:// URL";
    const SECRET: bool = true;
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        match address(text) {
            Ok(_) => Ok(Self(Some(text.to_owned()))),
            Err(ConnectError::Parameters(mistakes)) => Err(mistakes),
            Err(_) => Err("expected postgres://user:password@host:port/database".into()),
        }
    }
}

/// The address of an event log; `None` when not set. It may hold a password, so it is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EventLogUrl(pub Option<String>);

impl fmt::Debug for EventLogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "EventLogUrl(secret)"
        } else {
            "EventLogUrl(not set)"
        })
    }
}

impl Setting for EventLogUrl {
    const KIND: &'static str = "postgres:// or kurrentdb:// URL";
    const SECRET: bool = true;
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        if is_kurrentdb(text) {
            Address::parse(text).map_err(|error| error.to_string())?;
            return Ok(Self(Some(text.to_owned())));
        }
        match address(text) {
            Ok(_) => Ok(Self(Some(text.to_owned()))),
            Err(ConnectError::Parameters(mistakes)) => Err(mistakes),
            Err(_) => Err(
                "expected postgres://user:password@host:port/database or kurrentdb://user:password@host:2113 (also \
                 kurrentdb+discover://, esdb://, esdb+discover://)"
                    .into(),
            ),
        }
    }
}

/// A folder; `None` when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder(pub Option<PathBuf>);

impl Setting for Folder {
    const KIND: &'static str = "path";
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self((!text.is_empty()).then(|| PathBuf::from(text))))
    }
}

/// A file; `None` when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File(pub Option<PathBuf>);

impl Setting for File {
    const KIND: &'static str = "path";
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self((!text.is_empty()).then(|| PathBuf::from(text))))
    }
}

/// The name of a log in its checkpoints; `None` when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin(pub Option<String>);

impl Setting for Origin {
    const KIND: &'static str = "name";
    fn read(text: &str) -> Result<Self, String> {
        let unfit = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
        match text {
            "" => Ok(Self(None)),
            text if text.len() > 200 || text.contains(unfit) => {
                Err("expected a name such as log.example.com/audit, without spaces and '+'".into())
            }
            text => Ok(Self(Some(text.to_owned()))),
        }
    }
}

/// The address of the object store; `None` when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectUrl(pub Option<StoreAddress>);

impl Setting for ObjectUrl {
    const KIND: &'static str = "file:// or s3:// URL";
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        match StoreAddress::parse(text) {
            Ok(address) => Ok(Self(Some(address))),
            Err(_) => Err("expected a folder as file:///path or a bucket as s3://bucket/prefix".into()),
        }
    }
}

/// A text of one line; empty when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub String);

impl Setting for Line {
    const KIND: &'static str = "text";
    fn read(text: &str) -> Result<Self, String> {
        match text.len() > 1_000 || text.chars().any(char::is_control) {
            true => Err("expected one line of text".into()),
            false => Ok(Self(text.to_owned())),
        }
    }
}

/// A secret of one line; empty when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretLine(pub SecretText);

impl Setting for SecretLine {
    const KIND: &'static str = "text";
    const SECRET: bool = true;
    fn read(text: &str) -> Result<Self, String> {
        Line::read(text).map(|line| Self(SecretText::new(line.0)))
    }
}
