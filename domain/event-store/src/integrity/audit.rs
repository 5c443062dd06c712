//! The audit of a log: one pass over its events that recomputes chain and tree and compares both with what
//! is stored and what is signed.
//!
//! The rule: nothing is believed that was not computed from the events, except a signature. Where the events
//! and a stored tile differ, the tile names the position, and a signed root over that tile says which of the
//! two was changed.

use std::collections::BTreeMap;

use super::{ChainedEvent, Digest, Fault, TILE_WIDTH, Tile, TilePlace, Tip, Tree, leaf, leaf_hash};

/// A tile as it lies in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTile {
    /// The node over it, as stored.
    pub root: Digest,
    /// Its hashes, as stored.
    pub hashes: Vec<Digest>,
}

/// What is expected while the pass goes on. Give both before the events that they are about.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// Roots that were signed, by size.
    pub roots: BTreeMap<u64, Vec<Digest>>,
    /// Stored tiles.
    pub tiles: BTreeMap<TilePlace, StoredTile>,
}

/// See the module.
#[derive(Debug)]
pub struct Auditor {
    tip: Tip,
    tree: Tree,
    finished: Vec<Tile>,
    expected: Expectations,
    /// Tiles up to this many leaves must be stored.
    covered: u64,
    found: Findings,
}

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Where the chain breaks.
    pub chain: Option<Fault>,
    /// The first event that differs from the stored tile over it, as a position.
    pub differing: Option<u64>,
    /// The first tile that is missing, or wrong although all leaves below it fit.
    pub tile: Option<TilePlace>,
    /// Size of the largest signed root that fits, before any that does not.
    pub fitting: u64,
    /// Size of the first signed root that does not fit.
    pub broken: Option<u64>,
    /// Signed roots that were compared.
    pub compared: u64,
}

impl Auditor {
    /// An audit that goes on after `tip`, where the tree is `tree`. Tiles up to `covered` leaves must be
    /// stored; 0 when none need be.
    #[must_use]
    pub fn new(tip: Tip, tree: Tree, covered: u64) -> Self {
        Self {
            tip,
            tree,
            finished: Vec::new(),
            expected: Expectations::default(),
            covered,
            found: Findings::default(),
        }
    }

    /// Adds what is expected of the events that follow.
    pub fn expect(&mut self, more: Expectations) {
        for (size, roots) in more.roots {
            self.expected.roots.entry(size).or_default().extend(roots);
        }
        self.expected.tiles.extend(more.tiles);
    }

    /// Takes the next event. Returns whether the pass goes on: after a break of the chain it does not.
    pub fn take(&mut self, event: &ChainedEvent) -> bool {
        let prints = event.prints();
        if let Err(fault) = self.tip.advance_with(event, &prints) {
            self.compare_unfinished();
            self.found.chain = Some(fault);
            return false;
        }
        let leaf = leaf_hash(&leaf(&event.link(&prints)));
        self.tree.push(leaf, &mut self.finished);
        for tile in std::mem::take(&mut self.finished) {
            self.compare_tile(&tile);
        }
        if let Some(roots) = self.expected.roots.remove(&self.tree.size()) {
            let root = self.tree.root();
            self.found.compared += roots.len() as u64;
            match (self.found.broken, roots.iter().all(|signed| *signed == root)) {
                (None, true) => self.found.fitting = self.tree.size(),
                (None, false) => self.found.broken = Some(self.tree.size()),
                (Some(_), _) => {}
            }
        }
        true
    }

    /// How far the pass is.
    #[must_use]
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The tree over everything so far.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What was found so far.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.found
    }

    fn compare_tile(&mut self, tile: &Tile) {
        let place = (tile.level, tile.index);
        let stored = self.expected.tiles.remove(&place);
        if self.found.differing.is_some() || self.found.tile.is_some() {
            return;
        }
        let Some(stored) = stored else {
            let leaves = (tile.index + 1) << (8 * (u32::from(tile.level) + 1));
            if leaves <= self.covered {
                self.found.tile = Some(place);
            }
            return;
        };
        if tile.level == 0 {
            self.found.differing = first_difference(tile.index, &tile.hashes, &stored.hashes);
        }
        if self.found.differing.is_none() && (stored.root != tile.root || stored.hashes != tile.hashes) {
            self.found.tile = Some(place);
        }
    }

    /// The chain breaks inside of a tile: what stands before in it is compared too.
    fn compare_unfinished(&mut self) {
        let index = self.tree.size() / TILE_WIDTH as u64;
        if let (None, Some(stored)) = (self.found.differing, self.expected.tiles.get(&(0, index))) {
            self.found.differing = first_difference(index, self.tree.unfinished(0), &stored.hashes);
        }
    }
}

/// The position of the first of `leaves`, which begin tile `index`, that is not as in `stored`.
fn first_difference(index: u64, leaves: &[Digest], stored: &[Digest]) -> Option<u64> {
    let differing = leaves
        .iter()
        .zip(stored)
        .position(|(leaf, stored)| leaf != stored);
    differing.map(|at| index * TILE_WIDTH as u64 + at as u64 + 1)
}

impl Findings {
    /// The event whose stored leaf decides what the findings mean; `None` when no leaf differs.
    #[must_use]
    pub fn in_question(&self) -> Option<u64> {
        self.differing
    }

    /// What the findings about events and tree mean. `authentic`: whether the stored leaf of the event
    /// [`Findings::in_question`] was proved to be under a signed root.
    #[must_use]
    pub fn fault(&self, authentic: bool) -> Option<Fault> {
        if let Some(position) = self.differing {
            // The chain never breaks before a leaf differs: the pass ends there.
            if authentic {
                return Some(Fault::Committed { position });
            }
            if let Some(until) = self.broken.filter(|_| self.fitting < position) {
                return Some(self.between(until));
            }
            let index = (position - 1) / TILE_WIDTH as u64;
            return Some(Fault::Tile { level: 0, index });
        }
        if self.chain.is_some() {
            return self.chain.clone();
        }
        if let Some(until) = self.broken {
            return Some(self.between(until));
        }
        self.tile.map(|(level, index)| Fault::Tile { level, index })
    }

    fn between(&self, until: u64) -> Fault {
        Fault::Between {
            after: self.fitting,
            until,
        }
    }
}
