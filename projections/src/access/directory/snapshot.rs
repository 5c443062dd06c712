//! A snapshot of the directory: its bytes, the place in the log that they were folded up to, and what proves both.
//!
//! One rule: bytes are read only once it is proven that this installation wrote them, and that the log is still the one that
//! they were folded from. The code is made with a key that the database does not have: whoever can write to its table
//! and not to the log gains no rights by it. An older snapshot of the same log may be put back: the log tells the rest.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use domain::event_store::{EventStore, Position, StoreError};

use super::{folded::Rights, form::FormError};

/// What the code is over, besides the snapshot itself.
const PURPOSE: &[u8] = b"anneal access directory snapshot 1";

/// Proves that a snapshot was written by this installation. Never printed.
#[derive(Clone)]
pub struct SnapshotKey(hmac::Key);

impl fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotKey(***)")
    }
}

impl SnapshotKey {
    /// The key made of `secret`, which only this installation's processes know: 32 random bytes or more, or what is derived
    /// from such.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// Another fold made it.
    #[error(
        "it is of version {found} of the fold, and this build has version {}",
        Rights::VERSION
    )]
    Version {
        /// The version that it says.
        found: i32,
    },
    /// It is larger than any that is written.
    #[error("it has {0} bytes, more than any that is written")]
    TooLarge(i64),
    /// Its code does not fit.
    #[error(
        "its code does not fit: it was changed in the database, or written under another installation's keys"
    )]
    Code,
    /// The log has no event, or another one, where it was folded up to.
    #[error(
        "the log does not have the history that it was folded from: it is another log, or was restored from an older \
         state"
    )]
    History,
    /// Its bytes cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The database does not give it.
    #[error("it cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    /// Whether the log has its history cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A snapshot as it lies in its table.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) version: i32,
    pub(super) position: Position,
    pub(super) chain: [u8; 32],
    pub(super) code: Vec<u8>,
    pub(super) content: Vec<u8>,
}

impl Snapshot {
    /// `rights` as folded up to `position`, where the chain of the log has the hash `chain`.
    pub(super) fn of(
        rights: &Rights,
        position: Position,
        chain: [u8; 32],
        key: &SnapshotKey,
    ) -> Result<Self, FormError> {
        let mut snapshot = Self {
            version: Rights::VERSION,
            position,
            chain,
            code: Vec::new(),
            content: rights.to_bytes()?,
        };
        snapshot.code = snapshot.code_by(key).as_ref().to_vec();
        Ok(snapshot)
    }

    /// Its code: over the purpose, the version, the position, the chain's hash (each of one length) and the content.
    fn code_by(&self, key: &SnapshotKey) -> hmac::Tag {
        let mut code = hmac::Context::with_key(&key.0);
        code.update(PURPOSE);
        code.update(&self.version.to_be_bytes());
        code.update(&self.position.0.to_be_bytes());
        code.update(&self.chain);
        code.update(&self.content);
        code.sign()
    }

    /// What was folded, if it is proven to be what this installation folded from `store`.
    pub(super) async fn open(
        self,
        store: &dyn EventStore,
        key: &SnapshotKey,
    ) -> Result<Rights, SnapshotFault> {
        if self.version != Rights::VERSION {
            return Err(SnapshotFault::Version { found: self.version });
        }
        if store.chain_hash(self.position).await? != Some(self.chain) {
            return Err(SnapshotFault::History);
        }
        let key = key.clone();
        // Its length grows with the accounts: long for a thread that others wait for.
        let opened = tokio::task::spawn_blocking(move || self.proven(&key));
        opened.await.map_err(|_| SnapshotFault::Code)?
    }

    fn proven(&self, key: &SnapshotKey) -> Result<Rights, SnapshotFault> {
        verify_slices_are_equal(self.code_by(key).as_ref(), &self.code).map_err(|_| SnapshotFault::Code)?;
        Ok(Rights::from_bytes(&self.content)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::{clock::SystemClock, event_store::Position};
    use event_store::memory::MemoryEventStore;

    use super::{Rights, Snapshot, SnapshotFault, SnapshotKey};

    fn key() -> SnapshotKey {
        SnapshotKey::new(b"0123456789abcdef0123456789abcdef")
    }

    fn snapshot() -> Snapshot {
        Snapshot::of(&Rights::default(), Position(7), [3; 32], &key()).expect("made")
    }

    /// Each part alone: that another check would find it too is no reason to leave one out.
    #[test]
    fn the_code_is_over_every_part() {
        let changes: [fn(&mut Snapshot); 5] = [
            |snapshot| snapshot.version += 1,
            |snapshot| snapshot.position.0 += 1,
            |snapshot| snapshot.chain[0] ^= 1,
            |snapshot| snapshot.content.push(b' '),
            |snapshot| snapshot.code.truncate(16),
        ];
        snapshot().proven(&key()).expect("unchanged");
        for change in changes {
            let mut changed = snapshot();
            change(&mut changed);
            assert!(matches!(changed.proven(&key()), Err(SnapshotFault::Code)));
        }
        let other = SnapshotKey::new(b"another installation's secret...");
        assert!(matches!(snapshot().proven(&other), Err(SnapshotFault::Code)));
    }

    /// Of an older or a newer build of the same installation: its code fits.
    #[tokio::test]
    async fn what_another_version_of_the_fold_has_written_is_not_used() {
        let log = MemoryEventStore::new(Arc::new(SystemClock));
        for version in [Rights::VERSION - 1, Rights::VERSION + 1] {
            let mut other = snapshot();
            other.version = version;
            other.code = other.code_by(&key()).as_ref().to_vec();
            other.proven(&key()).expect("its code fits");
            match other.open(log.as_ref(), &key()).await {
                Err(SnapshotFault::Version { found }) => assert_eq!(found, version),
                Err(fault) => panic!("{fault}"),
                Ok(_) => panic!("version {version} was used"),
            }
        }
    }
}
