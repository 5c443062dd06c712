//! A set of texts that shares with its copies what they have in common.
//!
//! One rule: a copy costs the same however much is in it, and a change costs the path to what it changes. So a state that
//! grows with its history is folded on from a remembered one without copying it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

/// Children of a branch; a power of two.
const CHILDREN: usize = 16;
/// Bits of a hash that choose among them.
const BITS: u32 = CHILDREN.trailing_zeros();
/// Texts of a leaf at most, as long as the hash tells them apart.
const LEAF: usize = 16;
/// Branches on one path at most: then the hash is used up.
const DEEPEST: u32 = u64::BITS / BITS;

/// See the module. A hash trie, whose nodes are copied when they are changed and shared.
#[derive(Clone, Debug, Default)]
pub struct SharedSet {
    root: Arc<Node>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Arc<str>>),
    Branch([Arc<Node>; CHILDREN]),
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl SharedSet {
    /// How many texts are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `text` is in it.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let (mut node, mut rest) = (&self.root, hash(text));
        loop {
            match &**node {
                Node::Leaf(texts) => return texts.iter().any(|known| **known == *text),
                Node::Branch(children) => node = &children[child(rest)],
            }
            rest >>= BITS;
        }
    }

    /// Adds `text`; whether it was not there.
    pub fn insert(&mut self, text: &str) -> bool {
        if self.contains(text) {
            return false;
        }
        insert(&mut self.root, text.into(), hash(text), 0);
        self.len += 1;
        true
    }

    /// Removes `text`; whether it was there.
    pub fn remove(&mut self, text: &str) -> bool {
        if !self.contains(text) {
            return false;
        }
        remove(&mut self.root, text, hash(text));
        self.len -= 1;
        true
    }
}

/// The same in each process and run, so that what is folded is.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Which child the lowest bits of `rest` choose.
fn child(rest: u64) -> usize {
    (rest % CHILDREN as u64) as usize
}

fn insert(node: &mut Arc<Node>, text: Arc<str>, rest: u64, depth: u32) {
    let node = Arc::make_mut(node);
    match node {
        Node::Branch(children) => insert(&mut children[child(rest)], text, rest >> BITS, depth + 1),
        Node::Leaf(texts) => {
            texts.push(text);
            if texts.len() > LEAF && depth < DEEPEST {
                *node = split(std::mem::take(texts), depth);
            }
        }
    }
}

/// The branch at `depth` that takes the place of a leaf with `texts`.
fn split(texts: Vec<Arc<str>>, depth: u32) -> Node {
    let mut children: [Arc<Node>; CHILDREN] = Default::default();
    for text in texts {
        let rest = hash(&text) >> (BITS * depth);
        insert(&mut children[child(rest)], text, rest >> BITS, depth + 1);
    }
    Node::Branch(children)
}

fn remove(node: &mut Arc<Node>, text: &str, rest: u64) {
    match Arc::make_mut(node) {
        Node::Branch(children) => remove(&mut children[child(rest)], text, rest >> BITS),
        Node::Leaf(texts) => texts.retain(|known| **known != *text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Node, SharedSet, child, hash};

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(changes in prop::collection::vec((any::<bool>(), 0_u16..400), 0..2_000)) {
            let (mut shared, mut plain) = (SharedSet::default(), BTreeSet::new());
            let mut copies = Vec::new();
            for (n, (add, item)) in changes.into_iter().enumerate() {
                let item = format!("item_{item}");
                let (changed, expected) = match add {
                    true => (shared.insert(&item), plain.insert(item.clone())),
                    false => (shared.remove(&item), plain.remove(&item)),
                };
                prop_assert_eq!(changed, expected);
                prop_assert_eq!(shared.contains(&item), add);
                prop_assert_eq!(shared.len(), plain.len());
                if n % 500 == 0 {
                    copies.push((shared.clone(), plain.clone()));
                }
            }
            copies.push((shared, plain));
            for (shared, plain) in copies {
                prop_assert_eq!(shared.len(), plain.len(), "a copy is not changed with its original");
                for item in 0..400_u16 {
                    let item = format!("item_{item}");
                    prop_assert_eq!(shared.contains(&item), plain.contains(&item));
                }
            }
        }
    }

    /// The nodes on the path to `text`.
    fn path(set: &SharedSet, text: &str) -> Vec<*const Node> {
        let (mut node, mut rest, mut nodes) = (&set.root, hash(text), Vec::new());
        loop {
            nodes.push(std::sync::Arc::as_ptr(node));
            match &**node {
                Node::Leaf(_) => return nodes,
                Node::Branch(children) => node = &children[child(rest)],
            }
            rest >>= super::BITS;
        }
    }

    #[test]
    fn a_change_copies_its_path_and_nothing_else() {
        let mut set = SharedSet::default();
        for n in 0..50_000 {
            set.insert(&format!("prj_{n}"));
        }
        let before = set.clone();
        set.insert("one more");
        let (old, new) = (path(&before, "one more"), path(&set, "one more"));
        assert!(old.len() <= 8, "{} levels", old.len());
        assert!(
            old.iter().zip(&new).all(|(old, new)| old != new),
            "its path is its own"
        );
        let shared = (0..50_000)
            .filter(|n| {
                let item = format!("prj_{n}");
                path(&before, &item).last() == path(&set, &item).last()
            })
            .count();
        assert!(shared >= 50_000 - super::LEAF, "{shared} lie in shared leaves");
    }
}
