//! Reads the address of a KurrentDB.
//!
//! The rule: the password is taken out before anybody else sees the address, and no error repeats any of it.

use std::{str::FromStr as _, time::Duration};

use kurrentdb::{ClientSettings, Credentials};
use zeroize::Zeroizing;

/// What an address may begin with.
pub const SCHEMES: [&str; 4] = ["esdb", "esdb+discover", "kurrentdb", "kurrentdb+discover"];

/// Whether `url` is meant for this adapter.
#[must_use]
pub fn is_kurrentdb(url: &str) -> bool {
    let scheme = url.split("://").next().unwrap_or_default();
    SCHEMES.contains(&scheme.to_ascii_lowercase().as_str())
}

/// Why an address is of no use. None repeats the address, because it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is for something else.
    #[error(
        "the address of the event store begins with an unknown scheme; accepted are postgres://, \
         postgresql://, esdb://, esdb+discover://, kurrentdb:// and kurrentdb+discover://"
    )]
    Scheme,
    /// It cannot be read.
    #[error(
        "the KurrentDB address is not readable; write it as \
         kurrentdb://user:password@host:2113,host:2113?tlsCaFile=/path/ca.crt, with @, / and : in a password \
         as %40, %2F and %3A"
    )]
    Form,
    /// An option that would let anybody pass for the server.
    #[error(
        "tlsVerifyCert=false is refused: anybody could pass for the event store; give the authority of its \
         certificate with tlsCaFile=/path/ca.crt"
    )]
    Unverified,
    /// A certificate or key cannot be read.
    #[error("{option} names a file that cannot be read: {why}")]
    File {
        /// The option of the address.
        option: &'static str,
        /// What the system says.
        why: String,
    },
}

/// The official client waits so long before it connects at all; half a second unless told otherwise.
const SOONER: &str = "discoveryInterval=20";

/// Name and password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: Zeroizing<String>,
}

impl Login {
    /// For the official client.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(self.name.clone(), self.password.as_str().to_owned())
    }
}

/// A node, as it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u32,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A KurrentDB and how to speak to it.
#[derive(Clone)]
pub struct Address {
    /// Without name and password.
    pub(super) settings: ClientSettings,
    pub(super) login: Option<Login>,
    deadline: Option<Duration>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("nodes", &self.nodes())
            .field("secure", &self.secure())
            .finish_non_exhaustive()
    }
}

impl Address {
    /// Reads `url`. Options as the official clients have them (`tls`, `tlsCaFile`, `userCertFile`,
    /// `userKeyFile`, `defaultDeadline`, `keepAliveInterval`, …); `nodePreference` is always `leader`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        if !is_kurrentdb(url) {
            return Err(AddressError::Scheme);
        }
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Form)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, options) = rest.split_at(end);
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(read_login(login)?), hosts),
            None => (None, authority),
        };
        let (path, given) = options.split_once('?').unwrap_or((options, ""));
        let clean = format!("{scheme}://{hosts}{path}?{SOONER}&{given}&nodePreference=leader");
        let settings = ClientSettings::from_str(&clean).map_err(|_| AddressError::Form)?;
        if settings.hosts().iter().any(|host| host.host.is_empty()) {
            return Err(AddressError::Form);
        }
        if settings.is_secure_mode_enabled() && !settings.is_tls_certificate_verification_enabled() {
            return Err(AddressError::Unverified);
        }
        Ok(Self {
            settings,
            login,
            deadline: read_deadline(options)?,
        })
    }

    /// The nodes that it names.
    pub(super) fn nodes(&self) -> Vec<Node> {
        let node = |endpoint: &kurrentdb::Endpoint| Node {
            host: endpoint.host.clone(),
            port: endpoint.port,
        };
        self.settings.hosts().iter().map(node).collect()
    }

    /// Whether connections are encrypted.
    pub(super) fn secure(&self) -> bool {
        self.settings.is_secure_mode_enabled()
    }

    /// `defaultDeadline`, if the address has one that ends.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

/// The settings keep the option to themselves, so it is read a second time. -1: none.
fn read_deadline(options: &str) -> Result<Option<Duration>, AddressError> {
    let options = options.split_once('?').map_or("", |(_, options)| options);
    let mut given = options.split('&').filter_map(|option| option.split_once('='));
    match given.rfind(|(name, _)| name.eq_ignore_ascii_case("defaultDeadline")) {
        None | Some((_, "-1")) => Ok(None),
        Some((_, millis)) => match millis.parse() {
            Ok(millis) if millis > 0 => Ok(Some(Duration::from_millis(millis))),
            _ => Err(AddressError::Form),
        },
    }
}

fn read_login(text: &str) -> Result<Login, AddressError> {
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    Ok(Login {
        name: decoded(name)?,
        password: Zeroizing::new(decoded(password)?),
    })
}

/// Undoes `%40` and the like.
fn decoded(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let code = part.get(..2).ok_or(AddressError::Form)?;
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| AddressError::Form)?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Form)
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError, Duration, is_kurrentdb};

    #[test]
    fn every_scheme_and_several_nodes_are_read() {
        for scheme in super::SCHEMES {
            let address = Address::parse(&format!("{scheme}://a:1,b:2,c?tls=false&defaultDeadline=1500"))
                .expect("an address");
            let nodes: Vec<_> = address.nodes().iter().map(ToString::to_string).collect();
            assert_eq!(nodes, ["a:1", "b:2", "c:2113"]);
            assert_eq!(address.deadline(), Some(Duration::from_millis(1_500)));
            assert!(!address.secure());
        }
        assert!(Address::parse("esdb://node").expect("an address").secure());
        assert!(!is_kurrentdb("postgres://node/db"));
    }

    #[test]
    fn a_password_is_decoded_and_never_shown() {
        let address = Address::parse("kurrentdb://ad%3Amin:s3%40cret%2F@node:2113").expect("an address");
        let login = address.login.clone().expect("a login");
        assert_eq!(
            (login.name.as_str(), login.password.as_str()),
            ("ad:min", "s3@cret/")
        );
        let shown = format!("{address:?} {:?}", address.settings);
        assert!(!shown.contains("s3") && !shown.contains("min"), "{shown}");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        for (url, expected) in [
            ("mysql://u:s3cret@h/db", AddressError::Scheme),
            ("esdb://u:s3cret@h:notaport", AddressError::Form),
            ("esdb://u:s3cret@h:1,h:nope", AddressError::Form),
            ("esdb://u:s3cret@?tls=false", AddressError::Form),
            ("esdb://u:s3cret%4@h", AddressError::Form),
            ("esdb://u:s3cret@h?defaultDeadline=soon", AddressError::Form),
            ("esdb://u:s3cret@h?tlsVerifyCert=false", AddressError::Unverified),
        ] {
            let error = Address::parse(url).expect_err(url);
            assert_eq!(error, expected, "{url}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }
}
