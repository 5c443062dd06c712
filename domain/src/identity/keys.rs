//! PORT: what of identity is made with the secret key of this installation.
//!
//! One rule: the same arguments always give the same answer, so that what is made of an event can be made again; nobody
//! without the key can make it.

use uuid::Uuid;

use super::reservation::ReservationKey;
use crate::id::UserId;

/// See the module.
pub trait IdentityKeys: Send + Sync {
    /// The key of the reservation of `normalised` within `scope`: `username` or `email`.
    fn reservation(&self, scope: &str, normalised: &str) -> ReservationKey;

    /// The token by which `user` proves the address, made of the token's `id`; `None` when the one that this key makes has
    /// another hash: it was made with another key. The text is a secret.
    fn verification_token(&self, user: UserId, id: Uuid, hash: &str) -> Option<String>;
}
