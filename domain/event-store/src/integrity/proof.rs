//! Inclusion and consistency proofs (RFC 6962, 2.1.1 and 2.1.2): which nodes they are made of, and their
//! check.
//!
//! The rule: proofs are put together from stored tiles here, and checked by another implementation
//! (`ct-merkle`), so that a mistake cannot hide in both.

use std::{collections::BTreeMap, ops::Range};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use sha2::Sha256;

use super::{Checkpoint, Digest, TILE_WIDTH, node_hash, tree::perfect};

/// Leaves of a subtree: from, and before which.
pub type Span = Range<u64>;

/// The place of a tile: its level, and its place in the level.
pub type TilePlace = (u8, u64);

/// A hash of a proof.
pub type NodeHash = Digest;

/// Where a tree of `size` leaves (two or more) parts: the largest power of two below `size`.
fn parting(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The subtrees whose roots prove that leaf `index` is in the tree of `size` leaves, in the order of the
/// proof. `None` when it cannot be.
#[must_use]
pub fn inclusion_spans(index: u64, size: u64) -> Option<Vec<Span>> {
    if index >= size {
        return None;
    }
    let (mut from, mut to) = (0, size);
    let mut spans = Vec::new();
    while to - from > 1 {
        let middle = from + parting(to - from);
        if index < middle {
            spans.push(middle..to);
            to = middle;
        } else {
            spans.push(from..middle);
            from = middle;
        }
    }
    spans.reverse();
    Some(spans)
}

/// The subtrees whose roots prove that the tree of `old` leaves is the beginning of that of `new` leaves, in
/// the order of the proof. `None` unless `1 <= old <= new`.
#[must_use]
pub fn consistency_spans(old: u64, new: u64) -> Option<Vec<Span>> {
    if old == 0 || old > new {
        return None;
    }
    let (mut from, mut to) = (0, new);
    // Whether the subtree from..to of the new tree begins at leaf 0, where the old root is known anyway.
    let mut known = true;
    let mut spans = Vec::new();
    while old != to {
        let middle = from + parting(to - from);
        if old <= middle {
            spans.push(middle..to);
            to = middle;
        } else {
            spans.push(from..middle);
            from = middle;
            known = false;
        }
    }
    if !known {
        spans.push(from..to);
    }
    spans.reverse();
    Some(spans)
}

/// The perfect subtrees that make up `span`, the largest first, each as its height and place. `span` must
/// begin at a multiple of the smallest power of two that is not below its length, as subtrees do.
fn perfect_parts(span: &Span) -> Vec<(u32, u64)> {
    let mut parts = Vec::new();
    let mut from = span.start;
    while from < span.end {
        let height = (span.end - from).ilog2();
        parts.push((height, from >> height));
        from += 1 << height;
    }
    parts
}

/// In which tile the leaves under the perfect subtree of `height` at `place` lie, and where in it.
fn in_tile(height: u32, place: u64) -> (TilePlace, Range<usize>) {
    let level = u8::try_from(height / 8).unwrap_or(u8::MAX);
    let first = place << (height % 8);
    let begin = (first % TILE_WIDTH as u64) as usize;
    (
        (level, first / TILE_WIDTH as u64),
        begin..begin + (1 << (height % 8)),
    )
}

/// The tiles that hold what is needed for the roots of `spans`, with how many of their first hashes are.
#[must_use]
pub fn tiles_for(spans: &[Span]) -> BTreeMap<TilePlace, usize> {
    let mut tiles = BTreeMap::new();
    for (height, place) in spans.iter().flat_map(perfect_parts) {
        let (tile, hashes) = in_tile(height, place);
        let needed = tiles.entry(tile).or_insert(0);
        *needed = hashes.end.max(*needed);
    }
    tiles
}

/// The root over the leaves of `span`. `None` when `tiles` lacks a hash for it, or `span` is empty.
#[must_use]
pub fn root_of(span: &Span, tiles: &BTreeMap<TilePlace, Vec<Digest>>) -> Option<NodeHash> {
    let parts = perfect_parts(span).into_iter().map(|(height, place)| {
        let (tile, hashes) = in_tile(height, place);
        Some(perfect(tiles.get(&tile)?.get(hashes)?))
    });
    let parts: Vec<Digest> = parts.collect::<Option<_>>()?;
    let (last, others) = parts.split_last()?;
    Some(
        others
            .iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    )
}

/// Sizes above this do not occur in a log, and are refused before they reach arithmetic.
const LARGEST: u64 = i64::MAX as u64;

/// Whether `proof` shows that `leaf` (its bytes, not its hash) stands at `index` of the tree of `size` leaves
/// with this `root`.
#[must_use]
pub fn verify_inclusion(leaf: &[u8], index: u64, size: u64, root: &Digest, proof: &[NodeHash]) -> bool {
    if size > LARGEST {
        return false;
    }
    let proof = InclusionProof::<Sha256>::try_from_bytes(proof.concat());
    let root = RootHash::<Sha256>::new((*root).into(), size);
    proof.is_ok_and(|proof| root.verify_inclusion(&leaf, index, &proof).is_ok())
}

/// As [`verify_inclusion`], where only the hash of the leaf is known.
#[must_use]
pub fn verify_inclusion_of(
    leaf_hash: &Digest,
    index: u64,
    size: u64,
    root: &Digest,
    proof: &[NodeHash],
) -> bool {
    let spans = inclusion_spans(index, size).filter(|spans| spans.len() == proof.len());
    let Some(spans) = spans else { return false };
    let top = spans
        .iter()
        .zip(proof)
        .fold(*leaf_hash, |hash, (span, sibling)| match span.start > index {
            true => node_hash(&hash, sibling),
            false => node_hash(sibling, &hash),
        });
    top == *root
}

/// Whether `proof` shows that the tree of `old.0` leaves with root `old.1` is the beginning of that of
/// `new.0` leaves with root `new.1`. The empty tree is the beginning of every tree, by the empty proof.
#[must_use]
pub fn verify_consistency(old: (u64, &Digest), new: (u64, &Digest), proof: &[NodeHash]) -> bool {
    if old.0 > new.0 || new.0 > LARGEST {
        return false;
    }
    if old.0 == 0 {
        return proof.is_empty() && *old.1 == super::empty_root();
    }
    if old.0 == new.0 {
        return proof.is_empty() && old.1 == new.1;
    }
    let proof = ConsistencyProof::<Sha256>::try_from_bytes(proof.concat());
    let root = |(size, hash): (u64, &Digest)| RootHash::<Sha256>::new((*hash).into(), size);
    proof.is_ok_and(|proof| root(new).verify_consistency(&root(old), &proof).is_ok())
}

/// A proof of inclusion with its checkpoint as one text, in the format `c2sp.org/tlog-proof@v1`.
#[must_use]
pub fn tlog_proof(index: u64, proof: &[NodeHash], checkpoint: &Checkpoint) -> String {
    let hashes: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
    format!(
        "c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{}",
        checkpoint.note
    )
}

#[cfg(test)]
mod tests {
    use super::tlog_proof;
    use super::{
        consistency_spans, inclusion_spans, root_of, tiles_for, verify_consistency, verify_inclusion,
        verify_inclusion_of,
    };
    use crate::integrity::{Checkpoint, Digest, Tree, Verifier, empty_root, leaf_hash};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use sha2::Sha256;
    use std::collections::BTreeMap;

    type Tiles = BTreeMap<(u8, u64), Vec<Digest>>;

    /// The tree over the numbers from 0, with all its tiles, and the same tree of another implementation.
    fn tree(size: u64) -> (Tree, Tiles, MemoryBackedTree<Sha256, [u8; 8]>) {
        let (mut tree, mut full, mut other) = (Tree::default(), Vec::new(), MemoryBackedTree::new());
        for leaf in 0..size {
            tree.push(leaf_hash(&leaf.to_be_bytes()), &mut full);
            other.push(leaf.to_be_bytes());
        }
        let mut tiles: Tiles = full
            .into_iter()
            .map(|tile| ((tile.level, tile.index), tile.hashes))
            .collect();
        for level in 0..3_u8 {
            let hashes = tree.unfinished(level.into()).to_vec();
            tiles.insert((level, size >> (8 * (u32::from(level) + 1))), hashes);
        }
        (tree, tiles, other)
    }

    fn proof(spans: &[super::Span], tiles: &Tiles) -> Vec<Digest> {
        for (tile, width) in tiles_for(spans) {
            assert!(tiles[&tile].len() >= width, "{tile:?}");
        }
        spans
            .iter()
            .map(|span| root_of(span, tiles).expect("all tiles"))
            .collect()
    }

    /// AU-6
    #[test]
    fn proofs_from_tiles_are_those_of_another_implementation_and_verify() {
        for size in [1_u64, 2, 3, 7, 8, 255, 256, 257, 511, 700, 1_025] {
            let (tree, tiles, other) = tree(size);
            let root = tree.root();
            for index in (0..size).step_by(1 + size as usize / 40) {
                let made = proof(&inclusion_spans(index, size).expect("in the tree"), &tiles);
                let theirs = other.prove_inclusion(index as usize);
                assert_eq!(made.concat(), theirs.as_bytes(), "{index} in {size}");
                assert!(verify_inclusion(&index.to_be_bytes(), index, size, &root, &made));
                let hash = leaf_hash(&index.to_be_bytes());
                assert!(verify_inclusion_of(&hash, index, size, &root, &made));
                assert!(!verify_inclusion_of(&root, index, size, &root, &made) || size == 1);
                assert!(!verify_inclusion(
                    &(index + 1).to_be_bytes(),
                    index,
                    size,
                    &root,
                    &made
                ));
                assert!(!verify_inclusion(
                    &index.to_be_bytes(),
                    index,
                    size + 1,
                    &root,
                    &[&made[..], &[root]].concat()
                ));
                let old = index + 1;
                let made = proof(&consistency_spans(old, size).expect("not larger"), &tiles);
                let theirs = other.prove_consistency((size - old) as usize);
                assert_eq!(made.concat(), theirs.as_bytes(), "{old} to {size}");
                let before = root_of(&(0..old), &tiles).expect("all tiles");
                assert!(verify_consistency((old, &before), (size, &root), &made));
                assert!(!verify_consistency((old, &[1; 32]), (size, &root), &made));
                assert!(!verify_consistency((old, &before), (size, &[1; 32]), &made));
            }
        }
    }

    /// What a real log gave out, and another implementation verified: see `fixtures/README.md`.
    #[test]
    fn what_another_implementation_verified_verifies() {
        let verifier = Verifier::read(include_str!("fixtures/log.vkey")).expect("a key");
        let proof = include_str!("fixtures/event-2.tlog-proof");
        let (head, note) = proof.split_once("\n\n").expect("a proof and a checkpoint");
        let checkpoint = Checkpoint::open(note, &verifier).expect("a checkpoint");
        let hashes = head.lines().skip(2).map(|line| {
            let hash = STANDARD.decode(line).expect("base64");
            hash.try_into().expect("32 bytes")
        });
        let hashes: Vec<Digest> = hashes.collect();
        let leaf = hex::decode(include_str!("fixtures/event-2.leaf.hex").trim()).expect("hexadecimal");
        assert!(verify_inclusion(
            &leaf,
            1,
            checkpoint.size,
            &checkpoint.root,
            &hashes
        ));
        assert_eq!(tlog_proof(1, &hashes, &checkpoint), proof);
        verifier
            .open(include_str!("fixtures/manifest.note"))
            .expect("signed");
    }

    #[test]
    fn what_cannot_be_proved_is_refused() {
        assert_eq!(inclusion_spans(0, 0), None);
        assert_eq!(inclusion_spans(5, 5), None);
        assert_eq!(consistency_spans(0, 5), None);
        assert_eq!(consistency_spans(6, 5), None);
        let root = [7; 32];
        assert!(verify_consistency((0, &empty_root()), (5, &root), &[]));
        assert!(!verify_consistency((0, &root), (5, &root), &[]));
        assert!(!verify_consistency((5, &root), (5, &root), &[root]));
        assert!(!verify_consistency((6, &root), (5, &root), &[]));
        assert!(!verify_consistency((1, &root), (u64::MAX, &root), &[root]));
        assert!(!verify_inclusion(b"", u64::MAX - 1, u64::MAX, &root, &[root; 64]));
        assert!(!verify_inclusion(b"", 0, 0, &root, &[]));
    }

    /// CVE-2022-36111 of another log: a proof of which a part was not looked at.
    #[test]
    fn every_changed_byte_of_a_proof_is_found() {
        let (tree, tiles, _) = tree(700);
        let (root, old) = (tree.root(), root_of(&(0..300), &tiles).expect("all tiles"));
        let included = proof(&inclusion_spans(299, 700).expect("in the tree"), &tiles);
        let consistent = proof(&consistency_spans(300, 700).expect("not larger"), &tiles);
        let mut cases = 0;
        for (of, made) in [&included, &consistent].into_iter().enumerate() {
            for (hash, byte) in (0..made.len()).flat_map(|hash| (0..32).map(move |byte| (hash, byte))) {
                let mut made = made.clone();
                made[hash][byte] ^= 1 << (byte % 8);
                let holds = match of {
                    0 => verify_inclusion(&299_u64.to_be_bytes(), 299, 700, &root, &made),
                    _ => verify_consistency((300, &old), (700, &root), &made),
                };
                assert!(!holds, "{of} {hash} {byte}");
                cases += 1;
            }
        }
        assert!(cases > 500, "{cases}");
        assert!(!verify_inclusion(
            &299_u64.to_be_bytes(),
            299,
            700,
            &root,
            &included[1..]
        ));
        assert!(!verify_consistency((300, &old), (700, &root), &consistent[..3]));
    }
}
