//! Evidence that the log is what was recorded: the chain over it, the tree over it, signed checkpoints,
//! proofs, exports, and the audit that checks them all.
//!
//! One rule: everything here is a function of recorded bytes, a public key and nothing else, so that anybody
//! can check it without our database. Chain and tree cover the same fields and are never mixed in one proof.
//! All of it belongs to the log in PostgreSQL; a KurrentDB cluster keeps its own integrity, see
//! `ops/adr/0011-a-tree-over-the-log-with-signed-checkpoints.md`.

pub mod audit;
mod chain;
mod checkpoint;
pub mod export;
mod fault;
mod folder;
mod key;
mod leaf;
mod note;
mod proof;
mod tree;

pub use chain::{ChainedEvent, Digest, LAYOUT, Link, Prints, Tip, digest, genesis, micros, verify};
pub use checkpoint::{Checkpoint, CheckpointError, notes_in};
pub use fault::Fault;
pub use folder::{CheckpointFolder, CheckpointFolderError, Exported, LATEST, Newest};
pub use key::{KeyFileError, examine, open_existing, open_or_create, public_half, read_verifier};
pub use leaf::{LEAF_LAYOUT, leaf};
pub use note::{Key, NoteError, Signer, Verifier, is_note, origin_of, sign};
pub use proof::{
    NodeHash, Span, TilePlace, consistency_spans, inclusion_spans, root_of, tiles_for, tlog_proof,
    verify_consistency, verify_inclusion, verify_inclusion_of,
};
pub use tree::{TILE_WIDTH, Tile, Tree, empty_root, leaf_hash, node_hash};

#[cfg(test)]
mod mutations;
