//! What of identity is made with the pepper: keys of reservations, verification tokens.
//!
//! One rule: each comes from a scope of its own, so that what one of them reveals says nothing of another.

use domain::{
    id::UserId,
    identity::{keys::IdentityKeys, reservation::ReservationKey},
};
use uuid::Uuid;

use super::{
    keys::Pepper,
    secret::same,
    token::{OpaqueKind, OpaqueToken},
};

/// The scope of the keyed hashes that verification tokens are.
const VERIFICATION: &str = "verification token";

impl Pepper {
    /// The token by which `user` proves the address, made of the token's `id`: always the same, so that a mail that was lost
    /// is sent again without the token lying anywhere (ID-3).
    #[must_use]
    pub fn verification_token(&self, user: UserId, id: Uuid) -> OpaqueToken {
        let bytes = self.keyed_bytes(VERIFICATION, &format!("{user}.{}", id.simple()));
        OpaqueToken::of(OpaqueKind::Verification, &bytes)
    }
}

impl IdentityKeys for Pepper {
    fn reservation(&self, scope: &str, normalised: &str) -> ReservationKey {
        ReservationKey(self.keyed_hash(scope, normalised))
    }

    fn verification_token(&self, user: UserId, id: Uuid, hash: &str) -> Option<String> {
        let token = Self::verification_token(self, user, id);
        same(&token.hash, hash).then(|| format!("{user}.{}", token.secret.expose()))
    }
}

#[cfg(test)]
mod tests {
    use domain::{id::UserId, identity::keys::IdentityKeys as _};
    use uuid::Uuid;

    use super::Pepper;

    /// ID-3: who has the account, the token's id and the key makes the same token again; nobody else makes it.
    #[test]
    fn a_verification_token_is_made_again_and_differs_by_account_id_and_key() {
        let folders = [
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        ];
        let [own, other] = folders
            .each_ref()
            .map(|folder| Pepper::open(folder.path()).expect("a pepper"));
        let (user, id) = (UserId(Uuid::from_u128(1)), Uuid::from_u128(2));
        let made = own.verification_token(user, id);
        let again = own.verification_token(user, id);
        assert_eq!((&made.secret, &made.hash), (&again.secret, &again.hash));
        let presented = domain::identity::keys::IdentityKeys::verification_token(&own, user, id, &made.hash);
        let presented = presented.expect("the key is the same");
        assert_eq!(presented, format!("{user}.{}", made.secret.expose()));
        let read = crate::sessions::read_verification_token(&presented).expect("a token");
        assert_eq!(read, (user, made.hash.clone()));
        for different in [
            own.verification_token(UserId(Uuid::from_u128(3)), id),
            own.verification_token(user, Uuid::from_u128(3)),
            other.verification_token(user, id),
        ] {
            assert_ne!(different.hash, made.hash);
        }
        let keys: &dyn domain::identity::keys::IdentityKeys = &other;
        assert_eq!(keys.verification_token(user, id, &made.hash), None);
        assert_eq!(own.reservation("email", "a").0, own.keyed_hash("email", "a"));
    }
}
