//! Ten thousand random changes of a log, each of which must be found (C1).
//!
//! The rule: one seed, so that a failure comes again. The attacker of half of the cases computes the chain anew
//! after the change, as somebody with the database in hand would.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    ChainedEvent, Digest, Fault, TILE_WIDTH, Tip, Tree,
    audit::{Auditor, Expectations, Findings, StoredTile},
    digest, leaf, leaf_hash,
};

pub(super) const STORE: Uuid = Uuid::from_u128(42);

/// splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// A log of so many events, of all sorts of text.
pub(super) fn log(length: u64) -> Vec<ChainedEvent> {
    let mut events: Vec<ChainedEvent> = (1..=length)
        .map(|position| ChainedEvent {
            position,
            id: Uuid::from_u128(position.into()),
            stream: format!("test.counter-{}", position % 7),
            revision: position / 7,
            kind: "test.Counted".to_owned(),
            schema_version: 1,
            at: OffsetDateTime::UNIX_EPOCH + Duration::microseconds(position.cast_signed() * 1_500),
            data: format!("{{\"count\": {position}, \"text\": \"zwölf \\\"Boxkämpfer\\\"\\n\"}}"),
            meta: r#"{"actor":"user:1"}"#.to_owned(),
            data_hash: [0; 32],
            hash: [0; 32],
        })
        .collect();
    rechain(&mut events, 0);
    events
}

/// Computes hashes and links anew from `from` on, as the log of [`STORE`].
pub(super) fn rechain(events: &mut [ChainedEvent], from: usize) {
    let mut previous = match from {
        0 => Tip::genesis(STORE).hash,
        from => events[from - 1].hash,
    };
    for event in &mut events[from..] {
        event.data_hash = digest(event.data.as_bytes());
        event.hash = event.link(&event.prints()).after(&previous);
        previous = event.hash;
    }
}

/// Tree, stored tiles and the signed roots at some sizes.
fn evidence(events: &[ChainedEvent], sizes: &[u64]) -> Expectations {
    let (mut tree, mut tiles, mut expected) = (Tree::default(), Vec::new(), Expectations::default());
    for event in events {
        tree.push(leaf_hash(&leaf(&event.link(&event.prints()))), &mut tiles);
        if sizes.contains(&tree.size()) {
            expected.roots.insert(tree.size(), vec![tree.root()]);
        }
    }
    for tile in tiles {
        let (root, hashes) = (tile.root, tile.hashes);
        expected
            .tiles
            .insert((tile.level, tile.index), StoredTile { root, hashes });
    }
    expected
}

fn pass(events: &[ChainedEvent], expected: &Expectations, covered: u64) -> (Auditor, Findings) {
    let mut auditor = Auditor::new(Tip::genesis(STORE), Tree::default(), covered);
    auditor.expect(expected.clone());
    let _ = events.iter().all(|event| auditor.take(event));
    let findings = auditor.findings().clone();
    (auditor, findings)
}

/// Changes one field of one event by one bit or letter. The event is another one afterwards.
fn alter(event: &mut ChainedEvent, random: &mut Random) {
    let flip = |text: &mut String, random: &mut Random| {
        let at = random.below(text.len());
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let letter = text[at..].chars().next().map_or(1, char::len_utf8);
        let other = if text[at..].starts_with('x') { "y" } else { "x" };
        text.replace_range(at..at + letter, other);
    };
    match random.below(8) {
        0 => event.id = Uuid::from_u128(event.id.as_u128() ^ 1 << random.below(128)),
        1 => flip(&mut event.stream, random),
        2 => event.revision ^= 1 << random.below(62),
        3 => flip(&mut event.kind, random),
        4 => event.schema_version ^= 1 << random.below(15),
        5 => event.at += Duration::microseconds(1 + random.below(900) as i64),
        6 => flip(&mut event.data, random),
        _ => flip(&mut event.meta, random),
    }
}

const LENGTH: u64 = 300;
/// Sizes at which the log was signed: the last is its end.
const SIGNED: [u64; 5] = [3, 100, 256, 280, LENGTH];

/// One random change; gives back the first position that is not what it was.
fn mutate(events: &mut Vec<ChainedEvent>, random: &mut Random, hidden: bool) -> u64 {
    let at = random.below(events.len());
    match random.below(5) {
        0 => {
            let event = events[at].clone();
            events.insert(
                at,
                ChainedEvent {
                    id: Uuid::from_u128(u128::MAX),
                    ..event
                },
            );
        }
        1 => drop(events.remove(at)),
        2 => {
            let other = (at + 1 + random.below(events.len() - 1)) % events.len();
            events.swap(at, other);
            return finish(events, at.min(other), hidden);
        }
        3 => events.truncate(at),
        _ => alter(&mut events[at], random),
    }
    finish(events, at, hidden)
}

fn finish(events: &mut [ChainedEvent], at: usize, hidden: bool) -> u64 {
    if hidden {
        for (event, position) in events.iter_mut().zip(1..) {
            event.position = position;
        }
        // Time must not run backwards, or that would be found.
        let mut latest = OffsetDateTime::UNIX_EPOCH;
        for event in events.iter_mut() {
            latest = latest.max(event.at);
            event.at = latest;
        }
        rechain(events, at.min(events.len()));
    }
    at as u64 + 1
}

/// C1: every one of 10,000 changes is found, and where the tree was stored, at its first position.
#[test]
fn ten_thousand_changes_are_all_found() {
    let whole = log(LENGTH);
    let expected = evidence(&whole, &SIGNED);
    let (auditor, findings) = pass(&whole, &expected, LENGTH);
    assert_eq!((auditor.tip().position, findings.fault(true)), (LENGTH, None));
    let mut random = Random(1);
    for case in 0..10_000 {
        let hidden = case % 2 == 0;
        let mut events = whole.clone();
        let first = mutate(&mut events, &mut random, hidden);
        let (auditor, findings) = pass(&events, &expected, LENGTH);
        let end = auditor.tip().position;
        match findings.fault(true) {
            // A cut tail breaks nothing inside: only the signed checkpoint tells that there was more.
            None => {
                assert!(
                    end < LENGTH && findings.fitting < first,
                    "case {case}: {first}, ends at {end}"
                );
            }
            Some(Fault::Committed { position }) => assert_eq!(position, first, "case {case}"),
            Some(Fault::Between { after, until }) => {
                // The last events are not in a full tile yet.
                assert!(hidden && first > TILE_WIDTH as u64, "case {case}");
                assert!(
                    after < first && first <= until,
                    "case {case}: {after} {first} {until}"
                );
            }
            Some(Fault::Gap { expected, .. }) => assert_eq!(expected, first, "case {case}"),
            Some(Fault::Payload { position } | Fault::Link { position } | Fault::Time { position }) => {
                assert_eq!(position, first, "case {case}");
            }
            Some(other) => panic!("case {case}: {first}: {other}"),
        }
    }
}

/// Whoever rewrites the tiles too is found by the next signed root, which gives the stretch.
#[test]
fn a_rewrite_of_chain_and_tree_lies_between_two_checkpoints() {
    let whole = log(LENGTH);
    let signed = evidence(&whole, &SIGNED).roots;
    for (position, expected) in [
        (1, (0, 3)),
        (3, (0, 3)),
        (4, (3, 100)),
        (256, (100, 256)),
        (300, (280, 300)),
    ] {
        let mut events = whole.clone();
        events[position - 1].data.push(' ');
        rechain(&mut events, position - 1);
        let mut rewritten = evidence(&events, &[]);
        rewritten.roots = signed.clone();
        let (_, findings) = pass(&events, &rewritten, LENGTH);
        assert_eq!(findings.in_question(), None);
        let (after, until) = expected;
        assert_eq!(findings.fault(false), Some(Fault::Between { after, until }));
    }
}

/// A change of the stored tree alone accuses no event.
#[test]
fn a_changed_or_missing_tile_is_told_from_a_changed_event() {
    let whole = log(LENGTH);
    let mut expected = evidence(&whole, &SIGNED);
    let original = expected.tiles[&(0, 0)].clone();
    let fault = |expected: &Expectations, authentic| pass(&whole, expected, LENGTH).1.fault(authentic);
    let tile: Option<Fault> = Some(Fault::Tile { level: 0, index: 0 });
    let changes: [fn(&mut StoredTile); 2] = [|tile| tile.root[0] ^= 1, |tile| tile.hashes[17][3] ^= 1];
    for change in changes {
        change(expected.tiles.get_mut(&(0, 0)).expect("a tile"));
        assert_eq!(fault(&expected, false), tile);
        expected.tiles.insert((0, 0), original.clone());
    }
    expected.tiles.clear();
    assert_eq!(fault(&expected, false), tile);
}

/// The chain is broken only later, where the attacker stopped to compute it: the tree names the first event.
#[test]
fn the_tree_names_an_event_before_the_break_of_the_chain() {
    let whole = log(LENGTH);
    let expected = evidence(&whole, &SIGNED);
    let mut events = whole.clone();
    events[49].data.push(' ');
    let original: Vec<Digest> = whole.iter().map(|event| event.hash).collect();
    rechain(&mut events, 49);
    for (event, hash) in events.iter_mut().zip(original).skip(60) {
        event.hash = hash;
    }
    let (auditor, findings) = pass(&events, &expected, LENGTH);
    assert_eq!(auditor.tip().position, 60);
    assert_eq!(findings.fault(true), Some(Fault::Committed { position: 50 }));
}
