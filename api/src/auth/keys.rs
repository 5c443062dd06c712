//! The keys that sign and verify access tokens (SE-9), as files in one folder, and the pepper beside them.
//!
//! One rule: a key's name is computed from the key (RFC 7638) and its state is its file's name; nothing that
//! a token says ever becomes part of a path.
//!
//! | file | state | signs | verifies |
//! | --- | --- | --- | --- |
//! | `pending.pem` | published, waits until every replica has read it | no | yes |
//! | `active.pem` | signs new tokens | yes | yes |
//! | `retired-<kid>.pem` | public half only, until the last token it signed has expired | no | yes |
//!
//! To rotate without logging anyone out: [`SigningKeys::prepare_rotation`], wait until every replica has
//! called [`SigningKeys::reload`], [`SigningKeys::rotate`], and after the longest token life
//! [`SigningKeys::expire_retired`]. All replicas must see the same folder (a shared volume or a mounted secret).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

mod files;
mod pepper;

pub use pepper::Pepper;

const ACTIVE: &str = "active.pem";
const PENDING: &str = "pending.pem";
const RETIRED: &str = "retired-";

/// Why the keys cannot be used. The text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read, or is no file.
    #[error("{0}; a key that is lost is put back from the backup of the data folder")]
    File(#[from] small_files::ReadError),
    /// The folder cannot be read or written, or a file in it cannot be written.
    #[error("the key file {path} cannot be used: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Others may read the file or write to it or its folder.
    #[error("{path} is open to others (mode {mode:04o}); run: chmod {wanted:o} {path}")]
    OpenToOthers {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits to set.
        wanted: u32,
    },
    /// The file does not hold what its name promises.
    #[error("{path} does not hold {expected}; restore it from a backup")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// What was recorded under the key is there, and the key is not.
    #[error(
        "{path} is missing, and {bound} under it. Put this file back from the backup of the data folder that belongs \
         to this database; on a further machine, copy the folder `keys` of the first. Anneal makes no new one, because \
         {harm}"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was recorded under it, in words.
        bound: &'static str,
        /// What a new one would do, in words.
        harm: &'static str,
    },
    /// The key is that of another installation.
    #[error(
        "{path} is not the file of this database: it holds key {found}, and {expected} is needed. Put the file back \
         from the backup of the data folder that belongs to this database; on a further machine, copy the folder \
         `keys` of the first"
    )]
    Another {
        /// The file.
        path: PathBuf,
        /// The fingerprint of the key in it.
        found: String,
        /// The fingerprint that is recorded, or what the key does not fit, in words.
        expected: String,
    },
    /// A rotation was asked for, but no key is pending.
    #[error(
        "no key is pending; prepare the rotation first and wait until every replica has read the new key"
    )]
    NothingPending,
    /// The cryptographic library could not make a key; try again.
    #[error("no key could be generated; try again")]
    Generation,
}

/// The RFC 7638 SHA-256 thumbprint of a public key; prints as the `kid` of tokens and JWKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The thumbprint of a raw Ed25519 public key (RFC 8037, appendix A.3).
    fn of(public: &[u8]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        Self(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)).into())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Where a verifying key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, does not sign yet.
    Pending,
    /// Signs new tokens.
    Active,
    /// Verifies what it signed before.
    Retired,
}

/// A public key that tokens may be signed with.
pub struct VerifyingKey {
    id: KeyId,
    kid: String,
    state: KeyState,
    public: [u8; 32],
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    fn new(public: [u8; 32], state: KeyState) -> Option<Self> {
        let parsed = ParsedPublicKey::new(&ED25519, public).ok()?;
        let id = KeyId::of(&public);
        Some(Self {
            id,
            kid: id.to_string(),
            state,
            public,
            parsed,
        })
    }

    /// Its thumbprint.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Where it stands in its life.
    #[must_use]
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// Whether `signature` is this key's Ed25519 signature (RFC 8032) over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// The keys as they stood in the folder at one moment.
pub struct KeySet {
    signer: Ed25519KeyPair,
    signer_kid: String,
    verifying: Vec<VerifyingKey>,
}

impl KeySet {
    /// The `kid` of the key that signs.
    #[must_use]
    pub fn signing_kid(&self) -> &str {
        &self.signer_kid
    }

    /// Signs `message` with the active key.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(message).as_ref().to_vec()
    }

    /// Every key that may verify: active, pending, retired.
    #[must_use]
    pub fn verifying(&self) -> &[VerifyingKey] {
        &self.verifying
    }

    /// The verifying key that a token names. The name is compared, never used to look for a file.
    #[must_use]
    pub fn by_kid(&self, kid: &str) -> Option<&VerifyingKey> {
        self.verifying.iter().find(|key| key.kid == kid)
    }

    /// Whether the key still verifies.
    #[must_use]
    pub fn holds(&self, id: KeyId) -> bool {
        self.verifying.iter().any(|key| key.id == id)
    }

    /// The body of `/.well-known/jwks.json` (RFC 7517, RFC 8037): public halves only.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys = self.verifying.iter().map(|key| {
            let x = URL_SAFE_NO_PAD.encode(key.public);
            json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid, "x": x })
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

/// The signing keys of this installation. Share it by `Arc`; readers never wait for the disk.
pub struct SigningKeys {
    folder: PathBuf,
    current: RwLock<Arc<KeySet>>,
}

impl SigningKeys {
    /// Opens the folder, and on the very first start makes it (0700) and its first key (0600).
    ///
    /// Two processes that start at once end up with the same key.
    ///
    /// # Errors
    /// [`KeyError`] when a file cannot be read, is open to others or does not hold a key.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let folder = folder.into();
        files::make_folder(&folder)?;
        if let Some(keys) = Self::read(&folder)? {
            return Ok(keys);
        }
        files::create_once(&folder.join(ACTIVE), generate()?.as_bytes())?;
        let current = RwLock::new(Arc::new(load(&folder)?));
        Ok(Self { folder, current })
    }

    /// Opens the folder and makes nothing; `None` where there is no key that signs.
    ///
    /// # Errors
    /// As [`SigningKeys::open`].
    pub fn read(folder: &Path) -> Result<Option<Self>, KeyError> {
        if !files::is_there(&Self::file(folder))? {
            return Ok(None);
        }
        let current = RwLock::new(Arc::new(load(folder)?));
        let folder = folder.to_owned();
        Ok(Some(Self { folder, current }))
    }

    /// Where the key that signs lies in `folder`.
    #[must_use]
    pub fn file(folder: &Path) -> PathBuf {
        folder.join(ACTIVE)
    }

    /// The keys in use now.
    #[must_use]
    pub fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the folder again; on an error the keys in use stay.
    ///
    /// # Errors
    /// As [`SigningKeys::open`].
    pub fn reload(&self) -> Result<(), KeyError> {
        let fresh = Arc::new(load(&self.folder)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Publishes a new key that does not sign yet. Where one is pending already, nothing changes.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot be made or written.
    pub fn prepare_rotation(&self) -> Result<(), KeyError> {
        files::create_once(&self.folder.join(PENDING), generate()?.as_bytes())?;
        self.reload()
    }

    /// Makes the pending key the one that signs; the one before keeps verifying, its private half is gone.
    ///
    /// # Errors
    /// [`KeyError::NothingPending`] without [`SigningKeys::prepare_rotation`]; otherwise as there.
    pub fn rotate(&self) -> Result<(), KeyError> {
        let (active, pending) = (self.folder.join(ACTIVE), self.folder.join(PENDING));
        if !files::is_there(&pending)? {
            return Err(KeyError::NothingPending);
        }
        let public = public_half(&files::read_private_key(&active)?);
        let retired = self.folder.join(format!("{RETIRED}{}.pem", KeyId::of(&public)));
        files::create_once(&retired, files::public_pem(&public).as_bytes())?;
        files::replace(&pending, &active)?;
        self.reload()
    }

    /// Removes the keys that were retired at least `keep` before `now`; tells how many.
    ///
    /// `keep` is the longest life of an access token plus the leeway: after that nothing they signed is valid.
    ///
    /// # Errors
    /// [`KeyError`] when the folder cannot be read or a file cannot be removed.
    pub fn expire_retired(&self, now: OffsetDateTime, keep: Duration) -> Result<usize, KeyError> {
        let mut removed = 0;
        for path in files::with_prefix(&self.folder, RETIRED)? {
            if files::written_at(&path)? + keep <= now {
                files::remove(&path)?;
                removed += 1;
            }
        }
        self.reload()?;
        Ok(removed)
    }
}

/// A fresh Ed25519 key as a PKCS#8 PEM text.
fn generate() -> Result<zeroize::Zeroizing<String>, KeyError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generation)?;
    let document = pair.to_pkcs8().map_err(|_| KeyError::Generation)?;
    Ok(files::private_pem(document.as_ref()))
}

fn public_half(pair: &Ed25519KeyPair) -> [u8; 32] {
    let mut public = [0; 32];
    public.copy_from_slice(pair.public_key().as_ref());
    public
}

/// Reads all keys of the folder: the active one first, each key once.
fn load(folder: &Path) -> Result<KeySet, KeyError> {
    let active = folder.join(ACTIVE);
    let signer = files::read_private_key(&active)?;
    let mut found = vec![(active, public_half(&signer), KeyState::Active)];
    let pending = folder.join(PENDING);
    if files::is_there(&pending)? {
        let public = public_half(&files::read_private_key(&pending)?);
        found.push((pending, public, KeyState::Pending));
    }
    for path in files::with_prefix(folder, RETIRED)? {
        let public = files::read_public_key(&path)?;
        // A file under another key's name was put there by somebody, to have its tokens accepted.
        let named = format!("{RETIRED}{}.pem", KeyId::of(&public));
        if path.file_name().is_none_or(|name| name != named.as_str()) {
            let expected = "the public key that its name says";
            return Err(KeyError::Unreadable { path, expected });
        }
        found.push((path, public, KeyState::Retired));
    }
    let mut verifying: Vec<VerifyingKey> = Vec::with_capacity(found.len());
    for (path, public, state) in found {
        let unreadable = || KeyError::Unreadable {
            path,
            expected: files::PUBLIC_KEY,
        };
        let key = VerifyingKey::new(public, state).ok_or_else(unreadable)?;
        // A rotation that broke off leaves the active key's public half behind as a retired one.
        if verifying.iter().all(|known| known.id != key.id) {
            verifying.push(key);
        }
    }
    let signer_kid = KeyId::of(signer.public_key().as_ref()).to_string();
    Ok(KeySet {
        signer,
        signer_kid,
        verifying,
    })
}

#[cfg(test)]
mod tests;
