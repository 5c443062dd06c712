//! Who asks: passwords, tokens, keys.

mod identity_keys;
pub mod keys;
pub mod password;
pub mod policy;
pub mod secret;
pub mod token;
