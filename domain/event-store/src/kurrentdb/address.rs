//! Reads the connection string of a KurrentDB, in the form that its clients document.
//!
//! The rule: no error repeats a value of it, because the password may stand anywhere in one that is written wrongly.
//! An option that means nothing here is refused by its name, or, where clients have it, said to have no effect.

mod options;
#[cfg(test)]
mod tests;

use std::time::Duration;

use zeroize::Zeroizing;

pub(super) use self::options::Options;

/// What an address may begin with.
pub const SCHEMES: [&str; 4] = ["esdb", "esdb+discover", "kurrentdb", "kurrentdb+discover"];

/// The port of a node that names none.
const PORT: u16 = 2_113;

/// Whether `url` is meant for this adapter.
#[must_use]
pub fn is_kurrentdb(url: &str) -> bool {
    let scheme = url.split("://").next().unwrap_or_default();
    SCHEMES.contains(&scheme.to_ascii_lowercase().as_str())
}

/// Why an address is of no use. None repeats a value of the address, because it may hold a password.
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
         kurrentdb://user:password@host:2113,host:2113?tlsCaFile=/path/ca.crt, with @, /, ?, # and : in a password \
         as %40, %2F, %3F, %23 and %3A"
    )]
    Form,
    /// An option that no client has.
    #[error("the KurrentDB address has the unknown option {0}; known are {known}", known = options::known())]
    UnknownOption(String),
    /// An option that stands there twice.
    #[error("the KurrentDB address has the option {0} more than once")]
    Twice(&'static str),
    /// An option with a value that it cannot have.
    #[error("the option {option} of the KurrentDB address takes {accepted}")]
    Value {
        /// The option.
        option: &'static str,
        /// What it takes.
        accepted: &'static str,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("userCertFile and userKeyFile of the KurrentDB address belong together; give both or none")]
    HalfIdentity,
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

/// Name and password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: Zeroizing<String>,
}

/// A node, as it is called. An IPv6 address stands in brackets.
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
    nodes: Vec<Node>,
    pub(super) login: Option<Login>,
    pub(super) options: Options,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("nodes", &self.nodes)
            .field("secure", &self.options.secure)
            .finish_non_exhaustive()
    }
}

impl Address {
    /// Reads `url`: `scheme://[name[:password]@]host[:port][,host[:port]…][/][?option=value[&option=value…]]`, with
    /// percent-encoding in name, password and values, and names of options in any case. The four schemes mean the
    /// same: a name that stands for several nodes is looked up for each connection, and whichever node answers says
    /// who leads.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        if !is_kurrentdb(url) {
            return Err(AddressError::Scheme);
        }
        let (_, rest) = url.split_once("://").ok_or(AddressError::Form)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(read_login(login)?), hosts),
            None => (None, authority),
        };
        let nodes = hosts.split(',').map(read_node).collect::<Result<_, _>>()?;
        let (path, given) = tail.split_once('?').unwrap_or((tail, ""));
        if !matches!(path, "" | "/") || given.contains('#') {
            return Err(AddressError::Form);
        }
        Ok(Self {
            nodes,
            login,
            options: Options::read(given)?,
        })
    }

    /// The nodes that it names.
    pub(super) fn nodes(&self) -> Vec<Node> {
        self.nodes.clone()
    }

    /// `defaultDeadline`, if the address has one that ends.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.options.deadline
    }
}

fn read_node(text: &str) -> Result<Node, AddressError> {
    let after_brackets = text.find(']').map_or(0, |at| at + 1);
    let (host, port) = match text[after_brackets..].split_once(':') {
        Some((between, port)) => (&text[..after_brackets + between.len()], read_port(port)?),
        None => (text, PORT),
    };
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    let fits = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_name),
    };
    match fits {
        true => Ok(Node {
            host: host.to_owned(),
            port: port.into(),
        }),
        false => Err(AddressError::Form),
    }
}

fn read_port(text: &str) -> Result<u16, AddressError> {
    match text.bytes().all(|digit| digit.is_ascii_digit()) {
        true => text
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(AddressError::Form),
        false => Err(AddressError::Form),
    }
}

fn read_login(text: &str) -> Result<Login, AddressError> {
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(AddressError::Form);
    }
    Ok(Login {
        name: decoded(name)?,
        password: Zeroizing::new(decoded(password)?),
    })
}

/// Undoes `%40` and the like (RFC 3986, section 2.1). A plus sign stays one.
fn decoded(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let code = part.get(..2).ok_or(AddressError::Form)?;
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(AddressError::Form);
        }
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| AddressError::Form)?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Form)
}
