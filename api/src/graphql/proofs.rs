//! Proofs about the log: its signed checkpoints, and that events are in it.

use async_graphql::{Context, Error, Object, Result, SimpleObject};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::authz::Action;
use event_store::{
    integrity::{Checkpoint, Digest},
    postgres::{LogIntegrity, ProofError},
};

use super::{
    context::{app, require},
    errors::error_with_code,
    scalars::Long,
};

/// A signed checkpoint: how many events the log had, and the root of the Merkle tree (RFC 6962) over them.
#[derive(SimpleObject)]
pub struct AuditCheckpoint {
    /// The log's name.
    pub origin: String,
    /// Events that it covers: positions 1 to this.
    pub size: Long,
    /// The root, base64.
    pub root_hash: String,
    /// The whole as it was signed (C2SP tlog-checkpoint).
    pub note: String,
    /// The public key that checks it (C2SP signed-note).
    pub key: String,
}

/// Inclusion proof: an event is in the log.
#[derive(SimpleObject)]
pub struct AuditInclusionProof {
    /// Position of the event; its leaf has this less one as index.
    pub position: Long,
    /// Events in the tree.
    pub size: Long,
    /// The root of that tree, base64.
    pub root_hash: String,
    /// The hash of the event's leaf, base64.
    pub leaf_hash: String,
    /// The proof, from the leaf's neighbour up (RFC 6962, 2.1.1), base64.
    pub hashes: Vec<String>,
    /// The checkpoint of exactly that size, if one was signed.
    pub checkpoint: Option<AuditCheckpoint>,
}

/// Consistency proof: the smaller log is a prefix of the larger one.
#[derive(SimpleObject)]
pub struct AuditConsistencyProof {
    /// The old size.
    pub from: Long,
    /// The new size.
    pub to: Long,
    /// The root of the old tree, base64.
    pub from_root_hash: String,
    /// The root of the new tree, base64.
    pub to_root_hash: String,
    /// The proof (RFC 6962, 2.1.2), base64.
    pub hashes: Vec<String>,
}

/// Queries for proofs.
#[derive(Default)]
pub struct ProofsQuery;

#[Object]
impl ProofsQuery {
    /// The newest signed checkpoint of the log; null if none exists yet. Requires `audit.read`.
    async fn audit_checkpoint(&self, context: &Context<'_>) -> Result<Option<AuditCheckpoint>> {
        require(context, Action::AuditRead, "audit")?;
        let integrity = proofs(context)?;
        let newest = integrity.latest().await.map_err(|error| refused(&error))?;
        Ok(newest.map(|newest| shown(newest, integrity)))
    }

    /// Proves that an event is in the log. Requires `audit.read`.
    async fn audit_inclusion_proof(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Position of the event.")] position: Long,
        #[graphql(desc = "Tree size of the proof; that of the newest checkpoint if omitted.")] size: Option<
            Long,
        >,
    ) -> Result<Option<AuditInclusionProof>> {
        require(context, Action::AuditRead, "audit")?;
        let integrity = proofs(context)?;
        let proof = integrity.inclusion(position.0, size.map(|size| size.0)).await;
        let proof = proof.map_err(|error| refused(&error))?;
        Ok(Some(AuditInclusionProof {
            position,
            size: Long(proof.size),
            root_hash: STANDARD.encode(proof.root),
            leaf_hash: STANDARD.encode(proof.leaf_hash),
            hashes: encoded(&proof.hashes),
            checkpoint: proof.checkpoint.map(|checkpoint| shown(checkpoint, integrity)),
        }))
    }

    /// Proves that the log of `from` events is a prefix of the log of `to` events. Requires `audit.read`.
    async fn audit_consistency_proof(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The old size, at least 1.")] from: Long,
        #[graphql(desc = "The new size, at most that of the newest checkpoint.")] to: Long,
    ) -> Result<Option<AuditConsistencyProof>> {
        require(context, Action::AuditRead, "audit")?;
        let proof = proofs(context)?.consistency(from.0, to.0).await;
        let proof = proof.map_err(|error| refused(&error))?;
        Ok(Some(AuditConsistencyProof {
            from,
            to,
            from_root_hash: STANDARD.encode(proof.from.1),
            to_root_hash: STANDARD.encode(proof.to.1),
            hashes: encoded(&proof.hashes),
        }))
    }
}

fn proofs<'a>(context: &Context<'a>) -> Result<&'a LogIntegrity> {
    let integrity = app(context)?.integrity.as_deref();
    integrity.ok_or_else(|| error_with_code("NOT_FOUND", "the event store in use gives no proofs of its own"))
}

fn shown(checkpoint: Checkpoint, integrity: &LogIntegrity) -> AuditCheckpoint {
    AuditCheckpoint {
        origin: checkpoint.origin,
        size: Long(checkpoint.size),
        root_hash: STANDARD.encode(checkpoint.root),
        note: checkpoint.note,
        key: integrity.verifier().to_string(),
    }
}

fn encoded(hashes: &[Digest]) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash)).collect()
}

fn refused(error: &ProofError) -> Error {
    let code = match error {
        ProofError::NothingSigned | ProofError::NoCheckpoint { .. } | ProofError::NoTile => "NOT_FOUND",
        ProofError::Size { .. } | ProofError::Position { .. } | ProofError::Order { .. } => "BAD_USER_INPUT",
        ProofError::Damaged => return Error::new(error.to_string()),
        ProofError::Unavailable => "UNAVAILABLE",
    };
    error_with_code(code, error.to_string())
}
