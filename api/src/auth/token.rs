//! Access tokens (SE-1): short-lived JWTs (RFC 9068) that any process with the public keys can check.
//!
//! One rule: a token is accepted for what this service itself writes and for nothing else. The header has
//! exactly the three members we write, so `alg` tricks, embedded keys (`jwk`), key addresses (`jku`, `x5u`)
//! and extensions (`crit`) fail before any cryptography; no key is ever fetched.
//!
//! A valid token says who asks, not that the session still lives: the caller checks the session as well.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::keys::{KeyId, SigningKeys};
use super::secret::Secret;

mod cache;
mod opaque;

pub use opaque::{OpaqueKind, OpaqueToken};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 1_024;
/// How far clocks of two machines may be apart, in seconds.
pub const LEEWAY_SECONDS: i64 = 5;
/// No access token lives longer, whatever its `exp` says, in seconds.
pub const MAX_LIFE_SECONDS: i64 = 24 * 60 * 60;

/// The `typ` of access tokens (RFC 9068, section 2.1), so that no other JWT passes for one.
const TYPE: &str = "at+jwt";
/// The only algorithm (RFC 8037).
const ALGORITHM: &str = "EdDSA";

/// Who an access token speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user (`sub`).
    pub user: UserId,
    /// The login the token descends from (`sid`).
    pub session: SessionId,
    /// The token itself (`jti`).
    pub token: Uuid,
    /// When it was issued (`iat`), in seconds since 1970.
    pub issued_at: i64,
    /// From when it counts (`nbf`), in seconds since 1970.
    pub not_before: i64,
    /// When it ends (`exp`), in seconds since 1970.
    pub expires_at: i64,
}

/// Why a token is not accepted. To the outside all of them are 401; the words are for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("no access token was given")]
    Missing,
    /// It has more than [`MAX_TOKEN_BYTES`] bytes.
    #[error("the access token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It is not three base64url parts with the members this service writes.
    #[error("this is not an access token of this service")]
    Malformed,
    /// Another algorithm than EdDSA or another type than `at+jwt`.
    #[error("the access token has another algorithm or type")]
    WrongKind,
    /// Signed with a key that is not known, or no longer.
    #[error("the access token was signed with an unknown key")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the signature of the access token is wrong")]
    BadSignature,
    /// Issued by or for somebody else.
    #[error("the access token is from or for another service")]
    WrongParty,
    /// Its time is over; refresh it.
    #[error("the access token has expired; refresh it")]
    Expired,
    /// Its time has not come; compare the clocks.
    #[error("the access token is not valid yet; compare the clocks of the machines")]
    NotYetValid,
}

/// The header of our tokens, and of no others.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// The payload. Members we do not know are left alone: a newer replica may write more.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    sid: &'a str,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Issues and checks access tokens. Share it by `Arc`.
pub struct AccessTokens {
    keys: Arc<SigningKeys>,
    issuer: String,
    audience: String,
    verified: cache::Verified,
}

impl AccessTokens {
    /// Tokens of `issuer` for `audience`, signed with the active one of `keys`.
    #[must_use]
    pub fn new(keys: Arc<SigningKeys>, issuer: String, audience: String) -> Self {
        Self {
            keys,
            issuer,
            audience,
            verified: cache::Verified::new(),
        }
    }

    /// Writes a token for a session, valid from `now` for `life` (whole seconds, at most a day).
    ///
    /// `token` is a fresh id (`domain::id::Ids`); the text is the only copy.
    #[must_use]
    pub fn issue(
        &self,
        now: OffsetDateTime,
        user: UserId,
        session: SessionId,
        token: Uuid,
        life: Duration,
    ) -> Secret {
        let keys = self.keys.current();
        let issued_at = now.unix_timestamp();
        let life = i64::try_from(life.as_secs())
            .unwrap_or(MAX_LIFE_SECONDS)
            .min(MAX_LIFE_SECONDS);
        let header = Header {
            alg: ALGORITHM,
            typ: TYPE,
            kid: keys.signing_kid(),
        };
        let payload = Payload {
            iss: &self.issuer,
            aud: &self.audience,
            sub: &user.to_string(),
            sid: &session.to_string(),
            jti: token,
            iat: issued_at,
            nbf: issued_at,
            exp: issued_at + life,
        };
        let mut text = format!("{}.{}", part(&header), part(&payload));
        let signature = keys.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Secret::new(text)
    }

    /// Checks a token at `now`. The same good token again costs a hash and a look-up, not a signature.
    ///
    /// # Errors
    /// [`TokenError`]; nothing of a refused token is remembered.
    pub fn verify(&self, now: OffsetDateTime, token: &str) -> Result<Claims, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let keys = self.keys.current();
        let name = cache::name(token);
        if let Some(claims) = self.verified.get(&name, &keys) {
            if let Err(error) = in_time(&claims, now) {
                self.verified.forget(&name);
                return Err(error);
            }
            return Ok(claims);
        }
        let (claims, key) = self.verify_anew(&keys, token)?;
        in_time(&claims, now)?;
        self.verified.insert(name, claims, key);
        Ok(claims)
    }

    /// Everything but the time: form, kind, key, signature, parties.
    fn verify_anew(&self, keys: &super::keys::KeySet, token: &str) -> Result<(Claims, KeyId), TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header: Header<'_> = parse(&header)?;
        if header.alg != ALGORITHM || header.typ != TYPE {
            return Err(TokenError::WrongKind);
        }
        let key = keys.by_kid(header.kid).ok_or(TokenError::UnknownKey)?;
        if !key.verifies(message.as_bytes(), &signature) {
            return Err(TokenError::BadSignature);
        }
        let payload: Payload<'_> = parse(&payload)?;
        if payload.iss != self.issuer || payload.aud != self.audience {
            return Err(TokenError::WrongParty);
        }
        let claims = Claims {
            user: payload.sub.parse().map_err(|_| TokenError::Malformed)?,
            session: payload.sid.parse().map_err(|_| TokenError::Malformed)?,
            token: payload.jti,
            issued_at: payload.iat,
            not_before: payload.nbf,
            expires_at: payload.exp,
        };
        Ok((claims, key.id()))
    }
}

/// Whether the claims count at `now`, with [`LEEWAY_SECONDS`] on either side.
fn in_time(claims: &Claims, now: OffsetDateTime) -> Result<(), TokenError> {
    let now = now.unix_timestamp();
    let life = claims
        .expires_at
        .checked_sub(claims.issued_at)
        .ok_or(TokenError::Malformed)?;
    if !(0..=MAX_LIFE_SECONDS).contains(&life) {
        return Err(TokenError::Malformed);
    }
    if now >= claims.expires_at.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    if now.saturating_add(LEEWAY_SECONDS) < claims.not_before.max(claims.issued_at) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// One part of a token: JSON in base64url. These structs have no value that JSON cannot hold.
fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// Base64url without padding, in its one canonical spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// JSON with each known member exactly once.
fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests;
