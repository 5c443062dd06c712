//! Passwords: hashed with Argon2id (RFC 9106) in a bounded pool beside the async runtime (SE-4).
//!
//! One rule: whoever cannot get a place in the queue is turned away *before* anything is hashed, because a
//! machine of two cores is busy with about twenty hashes a second.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::secret::{Secret, fill_random};

/// The longest password that is hashed, in bytes (256 characters of UTF-8 always fit).
pub const MAX_PASSWORD_BYTES: usize = 1_024;

/// The most logins that wait for a worker of the pool; at 50 ms a hash the last waits under a second per worker.
pub const MAX_WAITING: usize = 16;

/// Bytes of random salt in each hash.
const SALT_BYTES: usize = 16;

/// A password as typed, at most [`MAX_PASSWORD_BYTES`] long, wiped from memory when dropped.
///
/// It is compared exactly as received: not trimmed, not cut, not normalised (ASVS 6.2.8).
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// The password has more than [`MAX_PASSWORD_BYTES`] bytes; ask for a shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password has at most {MAX_PASSWORD_BYTES} bytes")]
pub struct PasswordTooLong;

impl Password {
    /// Takes the typed text over.
    ///
    /// # Errors
    /// [`PasswordTooLong`]; the text is wiped all the same.
    pub fn new(typed: String) -> Result<Self, PasswordTooLong> {
        let typed = Zeroizing::new(typed);
        if typed.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordTooLong);
        }
        Ok(Self(typed))
    }

    /// What was typed. Never hand it to a log, an error or an event.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// How hard hashing is and how much of it happens at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashingSettings {
    /// Argon2 memory per hash, in KiB. OWASP's minima: 19,456 with two iterations, 47,104 with one.
    pub memory_kib: u32,
    /// Argon2 iterations.
    pub iterations: u32,
    /// Hashes computed at the same time; processor cores minus one leaves room for everybody else.
    pub concurrency: usize,
}

impl Default for HashingSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            memory_kib: 19_456,
            iterations: 2,
            concurrency: cores.saturating_sub(1).max(1),
        }
    }
}

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is the right one.
    Match {
        /// The stored hash was made with other parameters than today's: hash again and store that (SE-4).
        needs_rehash: bool,
    },
    /// The password is wrong, or there is no such account.
    Mismatch,
}

/// Why nothing was hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashingPoolError {
    /// All workers and waiting places are taken. Answer 503 with `Retry-After`; nothing was hashed.
    #[error("too many logins at the same time; try again in a second")]
    Busy,
    /// The Argon2 parameters are out of range; correct the configuration.
    #[error("the password hashing settings are not valid for Argon2id: {0}")]
    Settings(argon2::Error),
    /// The stored hash is not an Argon2 PHC string; reset that account's password.
    #[error("the stored password hash cannot be read; reset this account's password")]
    UnreadableHash,
    /// The hash could not be computed (no random salt, or the worker ended early); try again.
    #[error("the password could not be hashed; try again")]
    Failed,
}

/// The hashing pool. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct HashingPool {
    argon2: Argon2<'static>,
    /// Stands in for the hash of an account that does not exist: same parameters, same time, never right.
    stand_in: Arc<str>,
    places: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    /// What was computed since the start: memory times iterations, in KiB.
    work: Arc<AtomicU64>,
}

impl HashingPool {
    /// A pool with `settings.concurrency` workers and [`MAX_WAITING`] waiting places.
    ///
    /// `key` is Argon2's secret value (RFC 9106, 3.1): who has the hashes but not the key cannot even begin
    /// to guess. Hashes made with one key never verify under another.
    ///
    /// # Errors
    /// [`HashingPoolError::Settings`] when Argon2 does not accept the parameters.
    pub fn new(settings: HashingSettings, key: &Secret) -> Result<Self, HashingPoolError> {
        let params = Params::new(settings.memory_kib, settings.iterations, 1, None);
        let params = params.map_err(HashingPoolError::Settings)?;
        let (memory, iterations) = (settings.memory_kib, settings.iterations);
        let (salt, output) = ("A".repeat(22), "A".repeat(43));
        let concurrency = settings.concurrency.max(1);
        // One key per process, alive as long as it: leaking it is what gives it that life.
        let key: &'static [u8] = Box::leak(key.expose().as_bytes().into());
        Ok(Self {
            argon2: Argon2::new_with_secret(key, Algorithm::Argon2id, Version::V0x13, params)
                .map_err(HashingPoolError::Settings)?,
            stand_in: format!("$argon2id$v=19$m={memory},t={iterations},p=1${salt}${output}").into(),
            places: Arc::new(Semaphore::new(concurrency + MAX_WAITING)),
            workers: Arc::new(Semaphore::new(concurrency)),
            work: Arc::default(),
        })
    }

    /// Hashes a new password with a fresh salt into a PHC string.
    ///
    /// # Errors
    /// [`HashingPoolError::Busy`] when the pool is full, [`HashingPoolError::Failed`] when the hash could not be
    /// made.
    pub async fn hash(&self, password: Password) -> Result<String, HashingPoolError> {
        let (argon2, work) = (self.argon2.clone(), Arc::clone(&self.work));
        self.in_pool(move || {
            note(&work, argon2.params());
            let mut salt = [0_u8; SALT_BYTES];
            fill_random(&mut salt).map_err(|_| HashingPoolError::Failed)?;
            let hash: PasswordHash = argon2
                .hash_password_with_salt(password.expose().as_bytes(), &salt)
                .map_err(|_| HashingPoolError::Failed)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Checks a password against the stored PHC string.
    ///
    /// `None` means that there is no such account: the same work is done on a stand-in, so that the time
    /// tells nothing, and the verdict is [`Verdict::Mismatch`] (SE-5).
    ///
    /// # Errors
    /// [`HashingPoolError::Busy`] when the pool is full, [`HashingPoolError::UnreadableHash`] when `stored` is no
    /// Argon2 hash, [`HashingPoolError::Failed`] when the check broke off.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<&str>,
    ) -> Result<Verdict, HashingPoolError> {
        let exists = stored.is_some();
        let phc = stored.unwrap_or(&self.stand_in).to_owned();
        self.compare(password, phc, exists).await
    }

    /// Like [`HashingPool::verify`] for an account that does not exist, with the work of one whose hash was made with
    /// `parameters` (the beginning of a PHC string, `$argon2id$v=19$m=19456,t=2,p=1`); today's where they cannot be
    /// read.
    ///
    /// # Errors
    /// As [`HashingPool::verify`].
    pub async fn verify_in_vain(
        &self,
        password: Password,
        parameters: Option<&str>,
    ) -> Result<Verdict, HashingPoolError> {
        let like = |parameters: &str| format!("{parameters}${}${}", "A".repeat(22), "A".repeat(43));
        let phc = parameters.map(like).filter(|phc| PasswordHash::new(phc).is_ok());
        let phc = phc.unwrap_or_else(|| self.stand_in.to_string());
        self.compare(password, phc, false).await
    }

    /// What was computed since the start: memory times iterations of every hash, in KiB.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    async fn compare(
        &self,
        password: Password,
        phc: String,
        exists: bool,
    ) -> Result<Verdict, HashingPoolError> {
        let (argon2, work) = (self.argon2.clone(), Arc::clone(&self.work));
        self.in_pool(move || {
            let parsed = PasswordHash::new(&phc).map_err(|_| HashingPoolError::UnreadableHash)?;
            if let Ok(params) = Params::try_from(&parsed) {
                note(&work, &params);
            }
            if parsed.salt.is_none() || parsed.hash.is_none() {
                return Err(HashingPoolError::UnreadableHash);
            }
            match argon2.verify_password(password.expose().as_bytes(), &parsed) {
                Ok(()) if exists => Ok(Verdict::Match {
                    needs_rehash: outdated(&argon2, &parsed),
                }),
                Ok(()) | Err(password_hash::Error::PasswordInvalid) => Ok(Verdict::Mismatch),
                Err(_) => Err(HashingPoolError::UnreadableHash),
            }
        })
        .await
    }

    /// Runs `work` on a blocking thread once a worker is free; turns away what finds no waiting place.
    ///
    /// The permits travel with the work: a caller that goes away frees its place only when its hash is done.
    async fn in_pool<T, F>(&self, work: F) -> Result<T, HashingPoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, HashingPoolError> + Send + 'static,
    {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| HashingPoolError::Busy)?;
        let worker = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| HashingPoolError::Failed)?;
        tokio::task::spawn_blocking(move || {
            let _held: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, worker);
            work()
        })
        .await
        .map_err(|_| HashingPoolError::Failed)?
    }
}

/// Counts one hash.
fn note(work: &AtomicU64, params: &Params) {
    work.fetch_add(
        u64::from(params.m_cost()) * u64::from(params.t_cost()),
        Ordering::Relaxed,
    );
}

/// Whether `hash` was made with other parameters than `argon2` would use today.
fn outdated(argon2: &Argon2<'_>, hash: &PasswordHash) -> bool {
    let today = argon2.params();
    let same_cost = Params::try_from(hash).is_ok_and(|then| {
        (then.m_cost(), then.t_cost(), then.p_cost()) == (today.m_cost(), today.t_cost(), today.p_cost())
    });
    !(same_cost
        && hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into()))
}

#[cfg(test)]
mod tests;
