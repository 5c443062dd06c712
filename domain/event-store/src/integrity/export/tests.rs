//! Exports: made, checked, changed in every way, refused.

use std::{fs, path::Path, sync::atomic::AtomicU64};

use time::OffsetDateTime;

use super::{Beginning, ExportError, ExportWriter, LEAVES, MANIFEST, SIGNATURE, verify};
use crate::integrity::{
    ChainedEvent, Checkpoint, Digest, Fault, Signer, Tip, Tree, Verifier, consistency_spans, leaf, leaf_hash,
    mutations::{Random, STORE, log, rechain},
    root_of,
};

const LENGTH: u64 = 300;

fn leaves(events: &[ChainedEvent]) -> Vec<Digest> {
    let hash = |event: &ChainedEvent| leaf_hash(&leaf(&event.link(&event.prints())));
    events.iter().map(hash).collect()
}

fn tree(leaves: &[Digest]) -> Tree {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf, &mut Vec::new());
    }
    tree
}

/// Exports `from..=to` of a log of [`LENGTH`] events.
fn export(folder: &Path, from: usize, to: usize, signer: &Signer) -> Result<(), ExportError> {
    let events = log(LENGTH);
    let leaves = leaves(&events);
    let whole = tree(&leaves);
    let before = match from {
        1 => Tip::genesis(STORE),
        from => Tip {
            position: from as u64 - 1,
            hash: events[from - 2].hash,
            at: events[from - 2].at,
        },
    };
    let beginning = Beginning {
        store_id: STORE,
        tip: before,
        peaks: tree(&leaves[..from - 1]).peaks().copied().collect(),
    };
    let mut writer = ExportWriter::begin(folder, beginning, 100)?;
    for event in &events[from - 1..to] {
        writer.add(event)?;
    }
    let checkpoint = Checkpoint::sign(LENGTH, whole.root(), signer).expect("signed");
    let mut tiles = std::collections::BTreeMap::new();
    tiles.insert((0, 0), leaves[..256].to_vec());
    tiles.insert((0, 1), leaves[256..].to_vec());
    tiles.insert((1, 0), vec![tree(&leaves[..256]).root()]);
    let spans = consistency_spans(to as u64, LENGTH).expect("not larger");
    let proof: Vec<Digest> = spans
        .iter()
        .map(|span| root_of(span, &tiles).expect("all tiles"))
        .collect();
    writer.finish(&checkpoint, &proof, signer, OffsetDateTime::UNIX_EPOCH)?;
    Ok(())
}

fn check(folder: &Path, verifier: &Verifier) -> Result<(), ExportError> {
    verify(folder, verifier, &AtomicU64::new(0)).map(|_| ())
}

fn signer() -> Signer {
    Signer::generate("log.example/a").expect("a key")
}

/// AU-6: the whole log, or any part of it.
#[test]
fn an_export_proves_itself_with_only_the_public_key() {
    let signer = signer();
    for (from, to) in [(1, 300), (1, 1), (100, 200), (257, 300), (300, 300), (2, 299)] {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("export");
        export(&target, from, to, &signer).expect("made");
        let verified = verify(&target, signer.verifier(), &AtomicU64::new(0)).expect("whole");
        let manifest = verified.manifest;
        assert_eq!((manifest.from, manifest.to), (from as u64, to as u64));
        assert_eq!(manifest.events.len(), (to - from + 1).div_ceil(100));
        assert_eq!(verified.checkpoint.size, LENGTH);
        assert_eq!(
            fs::read_dir(folder.path()).expect("there").count(),
            1,
            "nothing is left beside it"
        );
        let other = self::signer();
        assert!(check(&target, other.verifier()).is_err());
        assert!(matches!(
            export(&target, from, to, &signer),
            Err(ExportError::Exists(_))
        ));
    }
}

/// C1: a changed byte in any file.
#[test]
fn every_changed_byte_of_an_export_is_found() {
    let signer = signer();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("export");
    export(&target, 101, 250, &signer).expect("made");
    let mut random = Random(7);
    let files: Vec<_> = fs::read_dir(&target)
        .expect("there")
        .map(|entry| entry.expect("one").path())
        .collect();
    assert_eq!(files.len(), 5);
    for path in files {
        let whole = fs::read(&path).expect("readable");
        for case in 0..240 {
            let mut bytes = whole.clone();
            let at = random.below(bytes.len());
            match case % 6 {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, b'0' + random.below(10) as u8),
                2 => bytes.truncate(at),
                _ => bytes[at] ^= 1 << random.below(8),
            }
            if bytes == whole {
                continue;
            }
            fs::write(&path, &bytes).expect("written");
            let found = check(&target, signer.verifier());
            assert!(found.is_err(), "{} {case} at {at}", path.display());
        }
        fs::write(&path, &whole).expect("written");
    }
    check(&target, signer.verifier()).expect("whole again");
}

/// The first event that is not what was recorded has its position named, also when its chain was computed anew.
#[test]
fn the_first_wrong_event_of_an_export_is_named() {
    let signer = signer();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("export");
    export(&target, 1, 300, &signer).expect("made");
    let path = target.join("events-00000000000000000101.jsonl");
    let whole = fs::read_to_string(&path).expect("readable");
    let rewritten = |events: &[ChainedEvent]| -> String {
        let lines = events
            .iter()
            .map(|event| serde_json::to_string(&super::Line::from(event)).expect("JSON") + "\n");
        lines.collect()
    };
    let found = |text: &str| {
        fs::write(&path, text).expect("written");
        match check(&target, signer.verifier()) {
            Err(ExportError::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    let events = log(LENGTH);
    assert_eq!(rewritten(&events[100..200]), whole);
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let changed = whole.replacen("\"count\\\": 150", "\"count\\\": 151", 1);
    assert_eq!(found(&changed), Fault::Link { position: 150 });
    let removed = [&lines[..20], &lines[21..]].concat().concat();
    assert_eq!(
        found(&removed),
        Fault::Gap {
            expected: 121,
            found: 122
        }
    );
    let doubled = [&lines[..20], &lines[19..]].concat().concat();
    assert_eq!(
        found(&doubled),
        Fault::Gap {
            expected: 121,
            found: 120
        }
    );
    let mut hidden = events.clone();
    hidden[149].data.push(' ');
    rechain(&mut hidden, 149);
    assert_eq!(
        found(&rewritten(&hidden[100..200])),
        Fault::Committed { position: 150 }
    );
    fs::write(&path, &whole).expect("written");
    let cut = whole
        .lines()
        .take(50)
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let last = target.join("events-00000000000000000201.jsonl");
    let rest = fs::read_to_string(&last).expect("readable");
    assert_eq!(
        found(&cut),
        Fault::Gap {
            expected: 151,
            found: 201
        }
    );
    fs::write(&path, &whole).expect("written");
    fs::write(
        &last,
        rest.lines()
            .take(10)
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )
    .expect("written");
    let error = check(&target, signer.verifier()).expect_err("cut");
    let cut = Fault::Truncated {
        signed: 300,
        found: 210,
        proved: 210,
    };
    assert!(
        matches!(&error, ExportError::Fault(fault) if *fault == cut),
        "{error}"
    );
    for name in [LEAVES, MANIFEST, SIGNATURE] {
        fs::remove_file(target.join(name)).expect("removed");
        assert!(check(&target, signer.verifier()).is_err());
    }
}

/// A log that is not whole is not exported, and nothing is left.
#[test]
fn a_damaged_log_is_not_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("export");
    let beginning = Beginning {
        store_id: STORE,
        tip: Tip::genesis(STORE),
        peaks: Vec::new(),
    };
    let mut writer = ExportWriter::begin(&target, beginning, 100).expect("begun");
    let mut events = log(3);
    events[1].data.push(' ');
    writer.add(&events[0]).expect("whole");
    let error = writer.add(&events[1]).expect_err("changed");
    assert!(
        matches!(error, ExportError::Fault(Fault::Payload { position: 2 })),
        "{error}"
    );
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
}

/// FR5: an export comes from somebody else. A pipe or a folder in the place of a file is named and not waited for.
#[test]
fn what_is_no_file_of_an_export_is_named_and_not_waited_for() {
    let signer = signer();
    for name in [LEAVES, MANIFEST, SIGNATURE] {
        for is_pipe in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let target = folder.path().join("export");
            export(&target, 1, 30, &signer).expect("exported");
            let path = target.join(name);
            fs::remove_file(&path).expect("removed");
            match is_pipe {
                true => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"),
                false => fs::create_dir(&path).expect("a folder"),
            }
            let error = check(&target, signer.verifier())
                .expect_err("refused")
                .to_string();
            assert!(
                error.contains(name) && error.contains("not a regular file"),
                "{error}"
            );
        }
    }
}
