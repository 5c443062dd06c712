//! Whom a call goes to.
//!
//! One rule: a destination is made from what the URL standard's parser has made of an address, so every spelling of a
//! host (decimal, octal, hexadecimal, short, percent-encoded, full-width) is the same host here.

use std::{fmt, net::IpAddr};

use http::Uri;
use url::{Host, Url};

use crate::error::Refusal;

/// What is spoken to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// HTTP over TLS.
    Https,
    /// HTTP in the clear.
    Http,
    /// Mail (SMTP with STARTTLS, or over TLS).
    Smtp,
}

impl Service {
    fn of_scheme(scheme: &str) -> Result<Self, Refusal> {
        match scheme {
            "https" => Ok(Self::Https),
            "http" => Ok(Self::Http),
            _ => Err(Refusal::Scheme),
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Smtp => 25,
        }
    }
}

/// Service, host and port: the exact origin that is judged, allowed, limited and counted. Shown as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// What is spoken.
    pub service: Service,
    /// An address, or a name in lower case without a trailing dot.
    pub host: Host<String>,
    /// The port, also where it is the usual one.
    pub port: u16,
}

impl Destination {
    /// The destination of `host` and `port` as somebody wrote them: a name, or an address in any spelling of the URL
    /// standard; IPv6 with or without brackets.
    ///
    /// # Errors
    /// [`Refusal::Host`].
    pub fn new(service: Service, host: &str, port: u16) -> Result<Self, Refusal> {
        let parsed = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Host::Ipv4(address),
            Ok(IpAddr::V6(address)) => Host::Ipv6(address),
            Err(_) => Host::parse(host).map_err(|_| Refusal::Host)?,
        };
        Ok(Self {
            service,
            host: plain(parsed)?,
            port,
        })
    }

    /// The destination of a URL.
    ///
    /// # Errors
    /// [`Refusal::Scheme`], [`Refusal::Host`].
    pub fn of(url: &Url) -> Result<Self, Refusal> {
        let service = Service::of_scheme(url.scheme())?;
        let host = url.host().ok_or(Refusal::Host)?.to_owned();
        Ok(Self {
            service,
            host: plain(host)?,
            port: url.port().unwrap_or(service.default_port()),
        })
    }

    /// The destination of what the HTTP client is about to connect to.
    pub(crate) fn of_uri(uri: &Uri) -> Result<Self, Refusal> {
        let service = Service::of_scheme(uri.scheme_str().unwrap_or_default())?;
        let host = uri.host().ok_or(Refusal::Host)?;
        Self::new(service, host, uri.port_u16().unwrap_or(service.default_port()))
    }

    /// The address, where the host is written as one.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ipv4(address) => Some((*address).into()),
            Host::Ipv6(address) => Some((*address).into()),
            Host::Domain(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The host in its one form: IPv4 that is mapped into IPv6 as IPv4; a name without the dot that marks it as complete, if
/// a name server could have it (RFC 1035, 2.3.4; with the underscore that inner networks use).
fn plain(host: Host<String>) -> Result<Host<String>, Refusal> {
    let name = match host {
        Host::Domain(name) => name,
        Host::Ipv4(address) => return Ok(Host::Ipv4(address)),
        Host::Ipv6(address) => return Ok(address.to_ipv4_mapped().map_or(Host::Ipv6(address), Host::Ipv4)),
    };
    let name = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    match name.len() <= 253 && name.split('.').all(label) {
        true => Ok(Host::Domain(name)),
        false => Err(Refusal::Host),
    }
}
