//! The corpus of bad tokens (A5, ASVS 9.1 and 9.2).
//!
//! One rule: each differs from a good token in one thing, and is refused for that thing.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::{MAX_TOKEN_BYTES, TokenError};
use super::{AUDIENCE, Fixture, NOW, b64, fixture, payload};

/// Signs with HMAC over the public key, as an attacker does who hopes that the verifier takes it as a secret.
fn hmac_confusion(f: &Fixture, alg: &str) -> String {
    let jwks = f.keys.current().jwks();
    let public = URL_SAFE_NO_PAD
        .decode(jwks["keys"][0]["x"].as_str().expect("x"))
        .expect("base64url");
    let header = json!({ "alg": alg, "typ": "at+jwt", "kid": f.kid() });
    let message = format!("{}.{}", b64(header.to_string()), b64(payload().to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    format!(
        "{message}.{}",
        b64(aws_lc_rs::hmac::sign(&key, message.as_bytes()))
    )
}

/// A token signed by somebody else's key, whose header is ours or carries that key along.
fn strangers(f: &Fixture, embed: bool) -> String {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let mut header = f.header();
    if embed {
        header["jwk"] = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) });
    }
    let message = format!("{}.{}", b64(header.to_string()), b64(payload().to_string()));
    format!("{message}.{}", b64(pair.sign(message.as_bytes())))
}

fn bad_headers(f: &Fixture) -> Vec<(String, String, TokenError)> {
    use TokenError::{Malformed, UnknownKey, WrongKind};
    let mut bad = Vec::new();
    for alg in [
        "none", "None", "NONE", "", "HS256", "HS512", "ES256", "RS256", "PS256", "EdDSA ", "eddsa", "Ed25519",
    ] {
        bad.push((
            format!("alg {alg:?}"),
            f.with_header(|h| h["alg"] = json!(alg)),
            WrongKind,
        ));
    }
    for typ in ["JWT", "jwt", "AT+JWT", "application/at+jwt", "rt+jwt", ""] {
        bad.push((
            format!("typ {typ:?}"),
            f.with_header(|h| h["typ"] = json!(typ)),
            WrongKind,
        ));
    }
    for kid in [
        "",
        "../../../../dev/null",
        "/etc/passwd",
        "active.pem",
        "' or '1'='1",
        "http://evil.example/k",
        "A",
    ] {
        bad.push((
            format!("kid {kid:?}"),
            f.with_header(|h| h["kid"] = json!(kid)),
            UnknownKey,
        ));
    }
    let extras = [
        ("jku", json!("https://evil.example/jwks.json")),
        (
            "jwk",
            json!({ "kty": "OKP", "crv": "Ed25519", "x": b64([1; 32]) }),
        ),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
    ];
    for (name, value) in extras {
        bad.push((
            format!("header {name}"),
            f.with_header(|h| h[name] = value),
            Malformed,
        ));
    }
    for name in ["alg", "typ", "kid"] {
        let without = f.with_header(|h| drop(h.as_object_mut().expect("object").remove(name)));
        bad.push((format!("no header {name}"), without, Malformed));
        bad.push((
            format!("header {name} a number"),
            f.with_header(|h| h[name] = json!(1)),
            Malformed,
        ));
    }
    bad
}

fn bad_payloads(f: &Fixture) -> Vec<(String, String, TokenError)> {
    use TokenError::{Expired, Malformed, NotYetValid, WrongParty};
    let now = NOW.unix_timestamp();
    let mut bad = Vec::new();
    for name in ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"] {
        let without = f.with_payload(|p| drop(p.as_object_mut().expect("object").remove(name)));
        bad.push((format!("no {name}"), without, Malformed));
        bad.push((
            format!("{name} null"),
            f.with_payload(|p| p[name] = Value::Null),
            Malformed,
        ));
    }
    let changes = [
        ("iss", json!("https://evil.example"), WrongParty),
        ("iss", json!("https://anneal.example/"), WrongParty),
        ("iss", json!(""), WrongParty),
        ("aud", json!("other"), WrongParty),
        ("aud", json!([AUDIENCE]), Malformed),
        ("aud", json!([AUDIENCE, "other"]), Malformed),
        ("sub", json!("ses_00000000000000000000000000000001"), Malformed),
        ("sub", json!("1"), Malformed),
        ("sid", json!("usr_00000000000000000000000000000001"), Malformed),
        ("jti", json!("../1"), Malformed),
        ("exp", json!(now - 6), Malformed),
        ("exp", json!((now + 900) as f64), Malformed),
        ("exp", json!((now + 900).to_string()), Malformed),
        ("exp", json!(-1), Malformed),
        ("exp", json!(i64::MAX), Malformed),
        ("exp", json!(u64::MAX), Malformed),
        ("exp", json!(1e300), Malformed),
        ("exp", json!(now + 86_401), Malformed),
        ("iat", json!(i64::MIN), Malformed),
        ("iat", json!(now + 60), NotYetValid),
        ("nbf", json!(now + 6), NotYetValid),
        ("nbf", json!(i64::MAX), NotYetValid),
    ];
    for (name, value, error) in changes {
        bad.push((
            format!("{name} {value}"),
            f.with_payload(|p| p[name] = value),
            error,
        ));
    }
    let past = f.with_payload(|p| {
        p["iat"] = json!(now - 906);
        p["nbf"] = json!(now - 906);
        p["exp"] = json!(now - 6);
    });
    bad.push(("expired six seconds ago".to_owned(), past, Expired));
    let (header, good) = (f.header().to_string(), payload().to_string());
    let twice = good.replacen('{', r#"{"sub":"usr_00000000000000000000000000000009","#, 1);
    bad.push(("sub twice".to_owned(), f.sign(&header, &twice), Malformed));
    let twice = header.replacen('{', r#"{"alg":"none","#, 1);
    bad.push(("alg twice".to_owned(), f.sign(&twice, &good), Malformed));
    for broken in [
        "",
        "null",
        "[]",
        "{}",
        "\u{feff}{}",
        &format!("{good}{good}"),
        &good[1..],
    ] {
        bad.push((
            format!("payload {broken:.20}"),
            f.sign(&header, broken),
            Malformed,
        ));
    }
    bad
}

fn bad_texts(f: &Fixture) -> Vec<(String, String, TokenError)> {
    use TokenError::{BadSignature, Malformed, Missing, TooLong, UnknownKey};
    let good = f.issue().expose().to_owned();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let raised = b64(payload().to_string().replace("0001", "0009"));
    let signed = |bytes: &[u8]| format!("{header}.{body}.{}", b64(bytes));
    // R is the neutral element and S zero: valid under a key of low order, which ours are not.
    let mut neutral = [0_u8; 64];
    neutral[0] = 1;
    // S + L is the same number modulo L: a second spelling of a good signature (RFC 8032, section 5.1.7).
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
    let (mut malleated, mut carry) = (bytes.clone(), 0_u16);
    for (digit, add) in malleated[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        (*digit, carry) = ((sum & 0xff) as u8, sum >> 8);
    }
    let other = fixture();
    let last_bit = format!(
        "{}{}",
        &good[..good.len() - 1],
        if good.ends_with('A') { 'B' } else { 'Z' }
    );
    let texts = [
        ("empty", String::new(), Missing),
        ("a space", " ".to_owned(), Malformed),
        ("dots", "...".to_owned(), Malformed),
        ("two dots", "..".to_owned(), Malformed),
        ("a word", "Bearer".to_owned(), Malformed),
        ("space before", format!(" {good}"), Malformed),
        ("newline after", format!("{good}\n"), Malformed),
        ("a NUL after", format!("{good}\0"), Malformed),
        ("a part more", format!("{good}.{signature}"), Malformed),
        ("a dot more", format!("{good}."), Malformed),
        ("a dot before", format!(".{good}"), Malformed),
        ("no signature", format!("{header}.{body}"), Malformed),
        ("an empty signature", format!("{header}.{body}."), BadSignature),
        ("no header", format!(".{body}.{signature}"), Malformed),
        ("no payload", format!("{header}..{signature}"), BadSignature),
        ("cut by a byte", good[..good.len() - 2].to_owned(), BadSignature),
        ("padding", format!("{good}="), Malformed),
        ("not base64", format!("{header}.{body}.!!!!"), Malformed),
        (
            "plain base64",
            format!("{header}.{body}.{}", signature.replace(['-', '_'], "/") + "+/"),
            Malformed,
        ),
        ("another spelling of the last character", last_bit, Malformed),
        (
            "another payload",
            format!("{header}.{raised}.{signature}"),
            BadSignature,
        ),
        ("zeros as signature", signed(&[0; 64]), BadSignature),
        ("the neutral element", signed(&neutral), BadSignature),
        ("a second spelling of S", signed(&malleated), BadSignature),
        (
            "signature and a byte",
            signed(&[bytes.as_slice(), &[0]].concat()),
            BadSignature,
        ),
        (
            "HMAC with the public key",
            hmac_confusion(f, "HS256"),
            TokenError::WrongKind,
        ),
        (
            "HMAC under our algorithm",
            hmac_confusion(f, "EdDSA"),
            BadSignature,
        ),
        (
            "a stranger's key under our name",
            strangers(f, false),
            BadSignature,
        ),
        ("a stranger's key in the header", strangers(f, true), Malformed),
        (
            "another installation",
            other.issue().expose().to_owned(),
            UnknownKey,
        ),
        (
            "too long",
            format!("{good}{}", "A".repeat(MAX_TOKEN_BYTES)),
            TooLong,
        ),
        ("a megabyte", "A".repeat(1 << 20), TooLong),
        ("nested brackets", f.sign(&"[".repeat(300), "{}"), Malformed),
    ];
    texts
        .into_iter()
        .map(|(why, text, error)| (why.to_owned(), text, error))
        .collect()
}

/// A5
#[test]
fn every_token_of_the_corpus_is_refused_for_its_own_reason() {
    let f = fixture();
    let corpus = [bad_headers(&f), bad_payloads(&f), bad_texts(&f)].concat();
    assert!(corpus.len() >= 100, "{}", corpus.len());
    for (why, token, error) in &corpus {
        assert_eq!(f.tokens.verify(NOW, token), Err(*error), "{why}: {token:.80}");
    }
    assert_eq!(f.tokens.verified.len(), 0, "no refused token is remembered");
    assert!(
        f.tokens.verify(NOW, f.issue().expose()).is_ok(),
        "and a good one still passes"
    );
}
