//! Addresses as people and configurations give them.
//!
//! One rule: an address is parsed once, here, and what was parsed is what is judged and called. None is ever shown with
//! more than its origin: paths and queries of webhooks are secrets.

use std::{fmt, str::FromStr};

use url::{Position, Url};
use zeroize::Zeroizing;

use crate::{destination::Destination, error::Refusal};

/// The longest address that is taken, in bytes.
pub const LONGEST: usize = 2_048;

/// A URL to call. Shown as its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    destination: Destination,
}

impl Target {
    /// The target of a URL: http or https, with a host, and without user name, password and fragment. Whether it may be
    /// called is the policy's.
    ///
    /// # Errors
    /// [`Refusal`] with the first thing that is wrong.
    pub fn new(mut url: Url) -> Result<Self, Refusal> {
        if url.as_str().len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let destination = Destination::of(&url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        // Without the trailing dot, as it was judged: certificates have none.
        let host = destination.host.to_string();
        url.set_host(Some(&host)).map_err(|_| Refusal::Host)?;
        Ok(Self { url, destination })
    }

    /// Whom it goes to.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The URL below this one: `base` is `https://host/v1`, `path` is `models`, the result `https://host/v1/models`. The
    /// path cannot lead to another host.
    ///
    /// # Errors
    /// [`Refusal::Characters`] when `path` has anything but letters, digits and `-._~/` or a segment `..`;
    /// [`Refusal::TooLong`].
    pub fn below(&self, path: &str) -> Result<Self, Refusal> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if !path.bytes().all(letter) || path.split('/').any(|part| part == ".." || part == ".") {
            return Err(Refusal::Characters);
        }
        let mut url = self.url.clone();
        let joined = format!(
            "{}/{}",
            url.path().trim_end_matches('/'),
            path.trim_start_matches('/')
        );
        url.set_path(&joined);
        Self::new(url)
    }

    pub(crate) fn expose(&self) -> &str {
        self.url.as_str()
    }

    fn origin(&self) -> &str {
        &self.url[..Position::BeforePath]
    }
}

impl FromStr for Target {
    type Err = Refusal;

    /// Stricter than the URL standard, which drops tabs and line ends, trims, and reads `\` as `/`: who writes such an
    /// address wants one program to read it in another way than the next.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        if text.contains(|letter: char| letter.is_control() || letter.is_whitespace() || letter == '\\') {
            return Err(Refusal::Characters);
        }
        Self::new(Url::parse(text).map_err(|_| Refusal::Unparsable)?)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}/…)", self.origin())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin())
    }
}

/// A URL that is a secret itself, as a whole: a webhook with `sig=…` or a token in its path. Wiped from memory when it is
/// dropped; shown as its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    text: Zeroizing<String>,
    destination: Destination,
}

impl SecretUrl {
    /// The target to call. It is not wiped: keep it as short as the call.
    ///
    /// # Errors
    /// None that [`SecretUrl::from_str`] did not have.
    pub fn target(&self) -> Result<Target, Refusal> {
        self.text.parse()
    }

    /// Whom it goes to.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The URL as it was written, for whoever seals it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for SecretUrl {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let target: Target = text.parse()?;
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            destination: target.destination,
        })
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({}, …)", self.destination)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.destination)
    }
}
