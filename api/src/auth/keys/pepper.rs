//! The pepper: a secret of this installation that turns names into keys nobody else can compute.
//!
//! One rule: what counts or reserves by e-mail, username or address does so under a keyed hash made here, so that a
//! copy of the database does not tell whose entries they are.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::super::secret::fill_random;
use super::{KeyError, files};

const FILE: &str = "pepper.key";
const EXPECTED: &str = "the 64 hexadecimal digits of the pepper";

/// The installation's pepper, 32 random bytes.
///
/// It belongs into the backup: with another pepper, taken names look free and counters start again.
pub struct Pepper(hmac::Key);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(***)")
    }
}

impl Pepper {
    /// Reads `pepper.key` in `folder`, and makes it (mode 0600) where there is none. For the very first start: where
    /// anything was recorded under a pepper, whoever calls this has to find it by [`Pepper::read`].
    ///
    /// Two processes that start at once end up with the same pepper.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be read, is open to others or holds something else.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        files::make_folder(folder)?;
        if let Some(pepper) = Self::read(folder)? {
            return Ok(pepper);
        }
        let mut bytes = Zeroizing::new([0_u8; 32]);
        fill_random(bytes.as_mut()).map_err(|_| KeyError::Generation)?;
        let text = Zeroizing::new(format!("{}\n", hex::encode(bytes.as_ref())));
        files::create_once(&Self::file(folder), text.as_bytes())?;
        Self::from_file(Self::file(folder))
    }

    /// Reads `pepper.key` in `folder` and makes nothing; `None` where there is none.
    ///
    /// # Errors
    /// As [`Pepper::open`].
    pub fn read(folder: &Path) -> Result<Option<Self>, KeyError> {
        let path = Self::file(folder);
        match files::is_there(&path)? {
            true => Self::from_file(path).map(Some),
            false => Ok(None),
        }
    }

    /// Where the pepper lies in `folder`.
    #[must_use]
    pub fn file(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    fn from_file(path: PathBuf) -> Result<Self, KeyError> {
        let text = files::read_private(&path, EXPECTED)?;
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut()).map_err(|_| KeyError::Unreadable {
            path,
            expected: EXPECTED,
        })?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref())))
    }

    /// What tells this pepper from others without giving it away: 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.keyed_hash("fingerprint", "anneal pepper 1")[..16].to_owned()
    }

    /// The keyed hash of a normalised name within a scope (`"email"`, `"username"`, `"login"`): HMAC-SHA256 (RFC
    /// 2104), 64 hexadecimal digits. The same input always gives the same key; scopes never collide.
    #[must_use]
    pub fn keyed_hash(&self, scope: &str, normalised: &str) -> String {
        hex::encode(self.keyed_bytes(scope, normalised).as_slice())
    }

    /// The 32 bytes of [`Pepper::keyed_hash`].
    #[must_use]
    pub fn keyed_bytes(&self, scope: &str, normalised: &str) -> Zeroizing<[u8; 32]> {
        let mut context = hmac::Context::with_key(&self.0);
        // The length in front keeps ("ab", "c") and ("a", "bc") apart.
        context.update(&(scope.len() as u64).to_be_bytes());
        context.update(scope.as_bytes());
        context.update(normalised.as_bytes());
        let mut bytes = Zeroizing::new([0_u8; 32]);
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }
}
