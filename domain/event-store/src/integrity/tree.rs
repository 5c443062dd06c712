//! The Merkle tree over the log (RFC 6962, section 2.1), as it grows, and its tiles.
//!
//! The rule: a tree of a size is the same whoever builds it, and whether it is built from leaves or taken up
//! again from tiles. Leaf n is the event at position n + 1. A full tile of level L holds 256 neighbouring
//! nodes of height 8 L, as in C2SP tlog-tiles; only full tiles are ever stored.

use sha2::{Digest as _, Sha256};

use super::Digest;

/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 256;
/// Height of a tile: 2⁸ hashes.
const TILE_HEIGHT: u32 = 8;

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Sha256::new()
        .chain_update([0])
        .chain_update(leaf)
        .finalize()
        .into()
}

/// The hash of a node over its two children.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root of the tree without leaves.
#[must_use]
pub fn empty_root() -> Digest {
    Sha256::digest([]).into()
}

/// A full tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Its level, from 0 over the leaves.
    pub level: u8,
    /// Its place in the level, from 0.
    pub index: u64,
    /// The node over all its hashes: one hash of the level above.
    pub root: Digest,
    /// Its [`TILE_WIDTH`] hashes.
    pub hashes: Vec<Digest>,
}

/// A tree at its right edge: enough to add leaves and to tell the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect trees that it is made of, the largest first, with their heights.
    peaks: Vec<(u32, Digest)>,
    /// By level, the hashes of the tile that is not full yet.
    unfinished: Vec<Vec<Digest>>,
}

impl Tree {
    /// Takes up a tree of `size` leaves whose tiles that are not full hold `unfinished`, lowest level first.
    /// `None` when these are not as many as a tree of that size has.
    #[must_use]
    pub fn resume(size: u64, unfinished: Vec<Vec<Digest>>) -> Option<Self> {
        let mut rest = size;
        for hashes in &unfinished {
            if hashes.len() as u64 != rest % TILE_WIDTH as u64 {
                return None;
            }
            rest >>= TILE_HEIGHT;
        }
        if rest != 0 {
            return None;
        }
        let mut peaks = Vec::new();
        let levels: Vec<(u32, &Vec<Digest>)> = (0..).zip(&unfinished).collect();
        for (level, hashes) in levels.into_iter().rev() {
            let mut hashes = hashes.as_slice();
            while !hashes.is_empty() {
                let height = hashes.len().ilog2();
                let (first, others) = hashes.split_at(1 << height);
                peaks.push((level * TILE_HEIGHT + height, perfect(first)));
                hashes = others;
            }
        }
        Some(Self {
            size,
            peaks,
            unfinished,
        })
    }

    /// Takes up a tree of `size` leaves from the roots of its perfect trees, largest first, as
    /// [`Tree::peaks`] gave them. Its unfinished tiles are unknown, so it completes none of those. `None`
    /// when there are not as many as a tree of that size has.
    #[must_use]
    pub fn from_peaks(size: u64, roots: &[Digest]) -> Option<Self> {
        let heights = (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1);
        let peaks: Vec<_> = heights.zip(roots.iter().copied()).collect();
        (peaks.len() == roots.len() && size.count_ones() as usize == roots.len()).then_some(Self {
            size,
            peaks,
            unfinished: Vec::new(),
        })
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect trees that it is made of, the largest first: one for each bit of the size.
    pub fn peaks(&self) -> impl Iterator<Item = &Digest> {
        self.peaks.iter().map(|(_, root)| root)
    }

    /// The hashes of the tile of `level` that is not full yet.
    #[must_use]
    pub fn unfinished(&self, level: usize) -> &[Digest] {
        self.unfinished.get(level).map_or(&[], Vec::as_slice)
    }

    /// The root (`MTH` of the RFC).
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some((_, last)) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*last, |right, (_, left)| node_hash(left, &right))
    }

    /// Adds the hash of the next leaf. Tiles that it completes go to `finished`, lowest level first.
    pub fn push(&mut self, leaf: Digest, finished: &mut Vec<Tile>) {
        self.size += 1;
        self.keep(0, leaf);
        let (mut height, mut hash) = (0, leaf);
        while let Some((_, left)) = self.peaks.pop_if(|(peak, _)| *peak == height) {
            hash = node_hash(&left, &hash);
            height += 1;
            if height % TILE_HEIGHT == 0 {
                self.finish(height, hash, finished);
            }
        }
        self.peaks.push((height, hash));
    }

    /// The tile under the node `root` at `height` is full.
    fn finish(&mut self, height: u32, root: Digest, finished: &mut Vec<Tile>) {
        let level = (height / TILE_HEIGHT - 1) as usize;
        let hashes = std::mem::take(&mut self.unfinished[level]);
        // A tree that was taken up from its peaks does not know what stood in this tile before.
        if let (TILE_WIDTH, Ok(level)) = (hashes.len(), u8::try_from(level)) {
            finished.push(Tile {
                level,
                index: (self.size >> height) - 1,
                root,
                hashes,
            });
        }
        self.keep(level + 1, root);
    }

    fn keep(&mut self, level: usize, hash: Digest) {
        if self.unfinished.len() <= level {
            self.unfinished.resize(level + 1, Vec::new());
        }
        self.unfinished[level].push(hash);
    }
}

/// The root over neighbouring nodes whose number is a power of two.
pub(super) fn perfect(hashes: &[Digest]) -> Digest {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node_hash(&perfect(left), &perfect(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Tree, leaf_hash};
    use crate::integrity::Digest;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use sha2::Sha256;

    /// Inputs and roots of the certificate-transparency project's reference tests (RFC 6962).
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn grown(size: u64) -> (Tree, Vec<super::Tile>) {
        let (mut tree, mut tiles) = (Tree::default(), Vec::new());
        for leaf in 0..size {
            tree.push(leaf_hash(&leaf.to_be_bytes()), &mut tiles);
        }
        (tree, tiles)
    }

    #[test]
    fn roots_are_those_of_the_rfc() {
        let mut tree = Tree::default();
        assert_eq!(hex::encode(tree.root()), ROOTS[0]);
        for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            tree.push(
                leaf_hash(&hex::decode(leaf).expect("hexadecimal")),
                &mut Vec::new(),
            );
            assert_eq!(hex::encode(tree.root()), *root);
        }
    }

    #[test]
    fn roots_are_those_of_another_implementation() {
        let mut other = MemoryBackedTree::<Sha256, [u8; 8]>::new();
        let mut tree = Tree::default();
        for leaf in 0..1_500_u64 {
            other.push(leaf.to_be_bytes());
            tree.push(leaf_hash(&leaf.to_be_bytes()), &mut Vec::new());
            assert_eq!(
                tree.root().as_slice(),
                other.root().as_bytes().as_slice(),
                "{leaf}"
            );
        }
    }

    #[test]
    fn tiles_come_when_they_are_full_and_their_roots_make_the_next_level() {
        let (tree, tiles) = grown(65_536 + 300);
        let level = |level: u8| tiles.iter().filter(move |tile| tile.level == level);
        assert_eq!((level(0).count(), level(1).count()), (257, 1));
        let over: Vec<Digest> = level(0).map(|tile| tile.root).take(256).collect();
        assert_eq!(level(1).next().map(|tile| tile.hashes.clone()), Some(over));
        assert!(level(0).map(|tile| tile.index).eq(0..257));
        assert_eq!([0, 1, 2].map(|level| tree.unfinished(level).len()), [44, 1, 1]);
    }

    #[test]
    fn a_tree_is_taken_up_again_from_unfinished_tiles_or_from_its_peaks() {
        for size in [0, 1, 255, 256, 257, 1_000, 65_536, 65_793] {
            let (tree, _) = grown(size);
            let unfinished: Vec<Vec<Digest>> = (0..tree.unfinished.len())
                .map(|level| tree.unfinished(level).to_vec())
                .collect();
            let mut again = Tree::resume(size, unfinished).expect("as many as there should be");
            assert_eq!(again, tree, "{size}");
            let peaks: Vec<Digest> = tree.peaks().copied().collect();
            let mut thin = Tree::from_peaks(size, &peaks).expect("one for each bit");
            let (whole, _) = grown(size + 600);
            for leaf in size..size + 600 {
                let hash = leaf_hash(&leaf.to_be_bytes());
                again.push(hash, &mut Vec::new());
                thin.push(hash, &mut Vec::new());
            }
            assert_eq!(
                [again.root(), thin.root()],
                [whole.root(), whole.root()],
                "{size}"
            );
        }
        assert_eq!(Tree::resume(3, vec![vec![[0; 32]; 2]]), None);
        assert_eq!(Tree::resume(3, vec![]), None);
        assert_eq!(Tree::from_peaks(3, &[[0; 32]]), None);
    }
}
