//! Good tokens, their times and keys, and random damage; the corpus of bad ones is beside.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::{SessionId, UserId};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use super::{AccessTokens, Claims, TokenError};
use crate::auth::keys::SigningKeys;
use crate::auth::secret::Secret;

mod corpus;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const LIFE: Duration = Duration::from_secs(900);
const ISSUER: &str = "https://anneal.example";
const AUDIENCE: &str = "anneal";

struct Fixture {
    folder: tempfile::TempDir,
    keys: Arc<SigningKeys>,
    tokens: AccessTokens,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keys = Arc::new(SigningKeys::open(folder.path()).expect("keys"));
    let tokens = AccessTokens::new(Arc::clone(&keys), ISSUER.to_owned(), AUDIENCE.to_owned());
    Fixture { folder, keys, tokens }
}

impl Fixture {
    fn issue(&self) -> Secret {
        self.tokens.issue(
            NOW,
            UserId(Uuid::from_u128(1)),
            SessionId(Uuid::from_u128(2)),
            Uuid::from_u128(3),
            LIFE,
        )
    }

    fn kid(&self) -> String {
        self.keys.current().signing_kid().to_owned()
    }

    fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.kid() })
    }

    /// A token over any two texts, signed with the service's own key: only the content can be at fault.
    fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(payload));
        let signature = self.keys.current().sign(message.as_bytes());
        format!("{message}.{}", b64(signature))
    }

    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.sign(&header.to_string(), &payload().to_string())
    }

    fn with_payload(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut changed = payload();
        change(&mut changed);
        self.sign(&self.header().to_string(), &changed.to_string())
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn payload() -> Value {
    let now = NOW.unix_timestamp();
    json!({
        "iss": ISSUER, "aud": AUDIENCE,
        "sub": UserId(Uuid::from_u128(1)).to_string(), "sid": SessionId(Uuid::from_u128(2)).to_string(),
        "jti": Uuid::from_u128(3), "iat": now, "nbf": now, "exp": now + 900,
    })
}

/// SE-1
#[test]
fn a_good_token_says_who_asks() {
    let f = fixture();
    let start = NOW.unix_timestamp();
    let expected = Claims {
        user: UserId(Uuid::from_u128(1)),
        session: SessionId(Uuid::from_u128(2)),
        token: Uuid::from_u128(3),
        issued_at: start,
        not_before: start,
        expires_at: start + 900,
    };
    let token = f.issue();
    assert!(token.expose().len() < 700, "{}", token.expose().len());
    assert_eq!(f.tokens.verify(NOW, token.expose()), Ok(expected));
    assert_eq!(
        f.tokens.verify(NOW, token.expose()),
        Ok(expected),
        "and again, from the cache"
    );
    assert_eq!(f.tokens.verified.len(), 1);
    assert_eq!(
        f.tokens.verify(NOW, &f.with_payload(|_| ())),
        Ok(expected),
        "as written by hand"
    );
    let newer = f.with_payload(|p| p["acr"] = json!("2"));
    assert_eq!(
        f.tokens.verify(NOW, &newer),
        Ok(expected),
        "with a claim of a newer version"
    );
}

/// SE-1: another library reads our tokens with nothing but the published keys.
#[test]
fn a_good_token_is_read_by_another_implementation() {
    let f = fixture();
    let token = f.issue();
    let header = jsonwebtoken::decode_header(token.expose()).expect("a header");
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(f.keys.current().jwks()).expect("a JWKS");
    let jwk = set.find(&header.kid.expect("a kid")).expect("published");
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[ISSUER]);
    rules.validate_exp = false;
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).expect("a key");
    let read = jsonwebtoken::decode::<Value>(token.expose(), &key, &rules).expect("valid");
    assert_eq!(read.claims, payload());
}

/// The times around the edges: five seconds of leeway, and not one more (F9).
#[test]
fn the_leeway_is_five_seconds_fresh_and_cached() {
    let f = fixture();
    let at = |seconds: i64| NOW + time::Duration::seconds(seconds);
    for cached in [false, true] {
        let token = f.issue();
        if cached {
            assert!(f.tokens.verify(NOW, token.expose()).is_ok());
        }
        assert!(f.tokens.verify(at(-5), token.expose()).is_ok());
        assert!(f.tokens.verify(at(904), token.expose()).is_ok());
        assert_eq!(
            f.tokens.verify(at(-6), token.expose()),
            Err(TokenError::NotYetValid)
        );
        assert_eq!(f.tokens.verify(at(905), token.expose()), Err(TokenError::Expired));
        assert_eq!(
            f.tokens.verified.len(),
            0,
            "what is out of time is not remembered"
        );
    }
}

/// SE-9: a token outlives the rotation and dies with its key, also in the cache.
#[test]
fn a_token_of_a_retired_key_is_valid_until_the_key_is_removed() {
    let f = fixture();
    let old = f.issue();
    assert!(f.tokens.verify(NOW, old.expose()).is_ok());
    f.keys.prepare_rotation().expect("prepared");
    f.keys.rotate().expect("rotated");
    let new = f.issue();
    assert!(f.tokens.verify(NOW, old.expose()).is_ok());
    assert!(f.tokens.verify(NOW, new.expose()).is_ok());
    let far = datetime!(9000-01-01 0:00 UTC);
    assert_eq!(f.keys.expire_retired(far, Duration::ZERO).expect("removed"), 1);
    assert_eq!(f.tokens.verify(NOW, old.expose()), Err(TokenError::UnknownKey));
    assert!(f.tokens.verify(NOW, new.expose()).is_ok());
}

#[test]
fn a_token_of_a_pending_key_is_accepted_by_a_replica_that_has_read_it() {
    let f = fixture();
    let there = Arc::new(SigningKeys::open(f.folder.path()).expect("found"));
    f.keys.prepare_rotation().expect("prepared");
    there.reload().expect("reloaded");
    f.keys.rotate().expect("rotated");
    let replica = AccessTokens::new(there, ISSUER.to_owned(), AUDIENCE.to_owned());
    assert!(replica.verify(NOW, f.issue().expose()).is_ok());
}

#[test]
fn a_life_longer_than_a_day_is_cut_to_a_day() {
    let f = fixture();
    let (user, session) = (UserId(Uuid::nil()), SessionId(Uuid::nil()));
    let token = f.tokens.issue(NOW, user, session, Uuid::nil(), Duration::MAX);
    let claims = f.tokens.verify(NOW, token.expose()).expect("valid");
    assert_eq!(claims.expires_at - claims.issued_at, 86_400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever bytes are changed, the token is refused, also when the good one is in the cache.
    #[test]
    fn a_damaged_token_never_verifies(damage in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..128), 1..4)) {
        thread_local!(static FIXTURE: (Fixture, String) = {
            let f = fixture();
            let token = f.issue().expose().to_owned();
            assert!(f.tokens.verify(NOW, &token).is_ok());
            (f, token)
        });
        FIXTURE.with(|(f, good)| {
            let mut bytes = good.clone().into_bytes();
            for (index, flip) in &damage {
                let at = index.index(bytes.len());
                bytes[at] = (bytes[at] ^ flip) & 0x7f;
            }
            let damaged = String::from_utf8(bytes).expect("ASCII stays ASCII");
            if damaged != *good {
                prop_assert!(f.tokens.verify(NOW, &damaged).is_err(), "{damaged}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_text_makes_the_check_panic(text in ".{0,200}") {
        let f = fixture_once();
        prop_assert!(f.tokens.verify(NOW, &text).is_err());
    }
}

fn fixture_once() -> &'static Fixture {
    static ONCE: std::sync::OnceLock<Fixture> = std::sync::OnceLock::new();
    ONCE.get_or_init(fixture)
}
