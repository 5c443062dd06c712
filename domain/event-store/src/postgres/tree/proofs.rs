//! Proofs as they are given out, and why one is not.
//!
//! The rule: a refusal says which sizes and positions can be proved.

use super::super::failure::describe;
use crate::integrity::{Checkpoint, Digest, NodeHash};

/// Why a proof is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Nothing is signed yet.
    #[error("no checkpoint has been signed yet; ask again in a few seconds")]
    NothingSigned,
    /// No checkpoint of that size.
    #[error("no checkpoint of {size} events was signed; leave the size out, or give that of a checkpoint")]
    NoCheckpoint {
        /// The size asked for.
        size: u64,
    },
    /// A size beyond what is signed, or 0.
    #[error("size {size} is out of range: 1 to {signed} events are signed")]
    Size {
        /// The size asked for.
        size: u64,
        /// The newest checkpoint's.
        signed: u64,
    },
    /// A position that the tree of that size does not cover.
    #[error("position {position} is out of range: a tree of {size} events covers positions 1 to {size}")]
    Position {
        /// The position asked for.
        position: u64,
        /// The size.
        size: u64,
    },
    /// The old tree is larger than the new one, or empty.
    #[error("from must be at least 1 and not larger than to; {from} and {to} were given")]
    Order {
        /// The old size.
        from: u64,
        /// The new size.
        to: u64,
    },
    /// No such tile.
    #[error("there is no such tile; a tile is there once the events under it are signed")]
    NoTile,
    /// The tree lies wrong in the database.
    #[error("the stored tree does not fit its signed root; run `anneal audit verify`")]
    Damaged,
    /// The database failed.
    #[error("the tree over the log cannot be read now; try again")]
    Unavailable,
}

impl From<sqlx::Error> for ProofError {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(error = describe(&error), "the tree over the log cannot be read");
        Self::Unavailable
    }
}

/// That an event is in the log, by the tree of one size.
#[derive(Clone, Debug)]
pub struct InclusionProof {
    /// Position of the event.
    pub position: u64,
    /// Events in the tree.
    pub size: u64,
    /// The root of that tree.
    pub root: Digest,
    /// The hash of the event's leaf.
    pub leaf_hash: Digest,
    /// The proof, from the leaf's neighbour up (RFC 6962, 2.1.1).
    pub hashes: Vec<NodeHash>,
    /// The checkpoint of that size, if one was signed.
    pub checkpoint: Option<Checkpoint>,
}

/// That one tree is the beginning of another.
#[derive(Clone, Debug)]
pub struct ConsistencyProof {
    /// Events in the old tree, and its root.
    pub from: (u64, Digest),
    /// Events in the new tree, and its root.
    pub to: (u64, Digest),
    /// The proof (RFC 6962, 2.1.2).
    pub hashes: Vec<NodeHash>,
}
