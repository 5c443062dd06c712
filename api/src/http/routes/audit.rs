//! The evidence about the log, over plain HTTP, in the formats of C2SP so that existing tools read it.
//!
//! The rule: whoever may read the audit log may have it (`audit.read`); it holds hashes, and nothing of any
//! event.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::authz::{Action, Resource};
use event_store::{
    integrity::{Checkpoint, TILE_WIDTH, TilePlace, tlog_proof},
    postgres::{LogIntegrity, ProofError},
};
use serde::Deserialize;

use super::{
    Routes, SignedIn,
    parameters::{InPath, InQuery},
    permitted,
};
use crate::http::problem::Problem;

/// The proofs of the log, for a caller who may read the audit log.
pub struct Evidence(Arc<LogIntegrity>);

impl FromRequestParts<Routes> for Evidence {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, routes: &Routes) -> Result<Self, Problem> {
        let SignedIn(caller) = SignedIn::from_request_parts(parts, routes).await?;
        permitted(&routes.app, &caller, Action::AuditRead, &Resource::kind("audit")).await?;
        let integrity = routes.app.integrity.clone();
        integrity.map(Self).ok_or_else(|| {
            Problem::new(StatusCode::NOT_FOUND).detail("the event store in use gives no proofs of its own")
        })
    }
}

/// A refusal of a proof, with the status that fits.
fn refused(error: &ProofError) -> Problem {
    let status = match error {
        ProofError::NothingSigned | ProofError::NoCheckpoint { .. } | ProofError::NoTile => {
            StatusCode::NOT_FOUND
        }
        ProofError::Size { .. } | ProofError::Position { .. } | ProofError::Order { .. } => {
            StatusCode::BAD_REQUEST
        }
        ProofError::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        ProofError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status).detail(error.to_string())
}

fn text(body: String) -> Response {
    let kind = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (kind, body).into_response()
}

async fn newest(integrity: &LogIntegrity) -> Result<Checkpoint, Problem> {
    let newest = integrity.latest().await.map_err(|error| refused(&error))?;
    newest.ok_or_else(|| refused(&ProofError::NothingSigned))
}

/// `GET /audit/checkpoint`, `GET /audit/log/checkpoint`: the newest signed checkpoint (C2SP tlog-checkpoint).
pub async fn checkpoint(Evidence(integrity): Evidence) -> Result<Response, Problem> {
    Ok(text(newest(&integrity).await?.note))
}

/// `GET /audit/key`: the public key that checks it (C2SP signed-note).
pub async fn key(Evidence(integrity): Evidence) -> Response {
    text(format!("{}\n", integrity.verifier()))
}

/// Which event, in the tree of which checkpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    position: u64,
    size: Option<u64>,
}

/// `GET /audit/proof/inclusion?position=&size=`: that an event is in the log (`c2sp.org/tlog-proof@v1`).
/// Without a size, by the newest checkpoint.
pub async fn inclusion(
    Evidence(integrity): Evidence,
    InQuery(Inclusion { position, size }): InQuery<Inclusion>,
) -> Result<Response, Problem> {
    let proof = integrity
        .inclusion(position, size)
        .await
        .map_err(|error| refused(&error))?;
    let size = proof.size;
    let checkpoint = proof
        .checkpoint
        .ok_or_else(|| refused(&ProofError::NoCheckpoint { size }))?;
    Ok(text(tlog_proof(position - 1, &proof.hashes, &checkpoint)))
}

/// Which sizes of the log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    from: u64,
    to: u64,
}

/// `GET /audit/proof/consistency?from=&to=`: that the log of `from` events is the beginning of that of `to`
/// events (RFC 6962, 2.1.2), a base64 hash per line.
pub async fn consistency(
    Evidence(integrity): Evidence,
    InQuery(Consistency { from, to }): InQuery<Consistency>,
) -> Result<Response, Problem> {
    let proof = integrity
        .consistency(from, to)
        .await
        .map_err(|error| refused(&error))?;
    Ok(text(
        proof
            .hashes
            .iter()
            .map(|hash| STANDARD.encode(hash) + "\n")
            .collect(),
    ))
}

/// `GET /audit/log/tile/<level>/<index>[.p/<width>]`: hashes of the tree (C2SP tlog-tiles).
pub async fn tile(Evidence(integrity): Evidence, InPath(path): InPath<String>) -> Result<Response, Problem> {
    let (place, width) = tile_of(&path).ok_or_else(|| refused(&ProofError::NoTile))?;
    let hashes = integrity
        .tile(place, width)
        .await
        .map_err(|error| refused(&error))?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, hashes.concat()).into_response())
}

/// Reads `<level>/<index>[.p/<width>]`; the index in groups of three digits, all but the last with an `x`.
fn tile_of(path: &str) -> Option<(TilePlace, usize)> {
    let (level, rest) = path.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, number(width)?.try_into().ok()?),
        None => (rest, TILE_WIDTH),
    };
    let groups: Vec<&str> = index.split('/').collect();
    let (last, leading) = groups.split_last()?;
    let mut whole = String::new();
    for group in leading {
        whole.push_str(group.strip_prefix('x').filter(|digits| digits.len() == 3)?);
    }
    whole.push_str(Some(*last).filter(|digits| digits.len() == 3)?);
    let digits = whole.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = leading.is_empty() || !whole.starts_with("000");
    let partial = width < TILE_WIDTH || !rest.contains(".p/");
    (digits && shortest && partial).then_some(())?;
    let level = number(level)?.try_into().ok().filter(|level| *level < 8)?;
    Some(((level, whole.parse().ok()?), width))
}

/// A number without leading zeroes.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::tile_of;

    #[test]
    fn tiles_are_named_as_in_the_specification() {
        assert_eq!(tile_of("0/x001/x234/067"), Some(((0, 1_234_067), 256)));
        assert_eq!(tile_of("1/000"), Some(((1, 0), 256)));
        assert_eq!(tile_of("0/x001/234.p/17"), Some(((0, 1_234), 17)));
        for wrong in [
            "",
            "0",
            "0/",
            "0/1",
            "0/0001",
            "0/x000/001",
            "00/000",
            "8/000",
            "0/000.p/",
            "0/000.p/256",
            "0/000.p/017",
            "0/x001/x234",
            "0/../000",
            "-1/000",
            "0/00a",
            "0/000.p/1/2",
            "0/+01",
        ] {
            assert_eq!(tile_of(wrong), None, "{wrong}");
        }
    }
}
