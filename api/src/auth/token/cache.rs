//! Tokens that were verified already, so that their signature is not computed again with each request.
//!
//! One rule: the cache answers only what a fresh check would answer. An entry dies with its key; the caller
//! checks the time on each hit. Only good tokens get in, so strangers cannot fill it.

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::super::keys::{KeyId, KeySet};
use super::Claims;

/// How many tokens are remembered; some 150 bytes each.
const CAPACITY: usize = 16_384;

/// A token's name in the cache: its SHA-256, so that memory holds no usable token.
pub(super) type Name = [u8; 32];

/// The name of a token.
pub(super) fn name(token: &str) -> Name {
    Sha256::digest(token).into()
}

/// The tokens that passed.
pub(super) struct Verified(Cache<Name, (Claims, KeyId)>);

impl Verified {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The claims of a token that passed before, unless the key that signed it is gone.
    pub(super) fn get(&self, name: &Name, keys: &KeySet) -> Option<Claims> {
        let (claims, key) = self.0.get(name)?;
        if keys.holds(key) {
            return Some(claims);
        }
        self.forget(name);
        None
    }

    pub(super) fn insert(&self, name: Name, claims: Claims, key: KeyId) {
        self.0.insert(name, (claims, key));
    }

    pub(super) fn forget(&self, name: &Name) {
        self.0.remove(name);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
