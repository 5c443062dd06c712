//! The rules of the code base that the compiler does not know.
//!
//! One rule: what is forbidden is searched for in every source file and manifest of the workspace, so that
//! new code cannot escape by being new.

mod built;
mod circles;
mod contexts;
mod modules;
mod mutations;
mod outbound;
mod reading;
mod served;
mod sizes;
mod staging;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// A source file: its path from the root of the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package lies in the workspace")
        .to_owned()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().expect("cargo describes the workspace")
}

/// Every file of the workspace that is not built, ignored or hidden, as a path from its root.
fn files() -> Vec<String> {
    let root = root();
    let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str())
            {
                open.push(path);
            } else if path.is_file() {
                let relative = path.strip_prefix(&root).expect("below the root");
                found.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    assert!(found.len() > 100, "the workspace was not found: {found:?}");
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let paths = files().into_iter().filter(|path| path.ends_with(".rs"));
    let read = |path: &String| std::fs::read_to_string(root().join(path)).expect("a readable source");
    paths
        .map(|path| Source {
            text: read(&path),
            path,
        })
        .collect()
}

fn within(path: &str, places: &[&str]) -> bool {
    places
        .iter()
        .any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

/// Whether `text` has `word` standing by itself.
fn names(text: &str, word: &str) -> bool {
    let part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    text.match_indices(word)
        .any(|(at, _)| !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next()))
}

/// The code of a file without its comments. Strings stay; a `//` inside of one cuts the line too early, which
/// can only hide what stands behind it on the same line.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names of what a package is built from.
fn dependencies(package: &Package) -> BTreeSet<&str> {
    let built = package
        .dependencies
        .iter()
        .filter(|one| one.kind != DependencyKind::Development);
    built.map(|one| one.name.as_str()).collect()
}

/// The crates that only compute, where each lies, and all that each may be built from.
const PURE: [(&str, &str, &[&str]); 3] = [
    (
        "payload",
        "domain/payload/src/",
        &["event-derive", "time", "uuid"],
    ),
    (
        "training-spec",
        "domain/training-spec/src/",
        &["payload", "serde", "serde_json"],
    ),
    (
        "domain",
        "domain/src/",
        &[
            "event-derive",
            "payload",
            "serde",
            "serde_json",
            "thiserror",
            "time",
            "training-spec",
            "uuid",
        ],
    ),
];

#[test]
fn the_domain_and_what_it_shares_with_the_engine_are_built_from_nothing_that_does_io() {
    let metadata = metadata();
    for (name, _, allowed) in PURE {
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == name)
            .expect("a pure crate");
        assert_eq!(
            dependencies(package),
            BTreeSet::from_iter(allowed.iter().copied()),
            "{name}"
        );
    }
}

#[test]
fn pure_crates_do_no_io_with_the_standard_library_either_and_wait_for_nothing() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "std::io",
        "Instant",
        "SystemTime",
    ];
    for (package, folder, _) in PURE {
        let mut searched = 0;
        for source in sources().iter().filter(|source| source.path.starts_with(folder)) {
            searched += 1;
            let code = code(&source.text);
            for name in forbidden {
                assert!(!names(&code, name), "{} names {name}", source.path);
            }
            // The domain has ports, which adapters wait behind.
            assert!(
                package == "domain" || !["async", "await"].iter().any(|word| names(&code, word)),
                "{} waits",
                source.path
            );
        }
        assert!(searched > 1, "{folder} was not found");
    }
}

/// The one write path: who cannot name an append cannot make one.
#[test]
fn nothing_but_execute_appends_to_the_log() {
    let allowed = [
        "domain/src/execute.rs",
        "domain/src/execute/append.rs",
        "domain/src/event_store.rs",
        "domain/event-store/",
        "tests/", // the contract of the store, benches, and a store that injects faults
    ];
    let mut searched = 0;
    for source in sources().iter().filter(|source| !within(&source.path, &allowed)) {
        let code = code(&source.text);
        searched += 1;
        assert!(
            !names(&code, "Append"),
            "{} names the append of the event store",
            source.path
        );
        assert!(
            !code.contains("store.append("),
            "{} appends to the event store",
            source.path
        );
    }
    assert!(searched > 100);
}

/// The only code that may be `unsafe`, and why. The file or folder is audited: each block states why it is sound.
const UNSAFE: [(&str, &str); 3] = [
    (
        "workers/ml/src/raw/cuda.rs",
        "functions of NVIDIA's libraries, loaded at run time",
    ),
    ("workers/ml/src/raw/gemm.rs", "the gemm crate takes raw pointers"),
    (
        "workers/ml/src/raw/prefetch.rs",
        "the prefetch instruction takes an address",
    ),
];

/// Where the lint against `unsafe` is lifted: at the declaration of the audited module.
const LIFTS_THE_LINT: &str = "workers/ml/src/lib.rs";

#[test]
fn unsafe_code_stands_in_its_audited_module_only_and_each_block_says_why_it_is_sound() {
    // Written apart, so that this file does not name what it looks for.
    let keyword = ["un", "safe"].concat();
    let (block, lint) = (format!("{keyword} {{"), format!("{keyword}_code"));
    let mut found = BTreeSet::new();
    for source in sources() {
        let code = code(&source.text);
        if names(&code, &keyword) {
            assert!(
                UNSAFE.iter().any(|(path, _)| *path == source.path),
                "{} has {keyword} code",
                source.path
            );
            found.insert(source.path.clone());
        }
        let lifts = ["allow", "expect", "warn"].map(|level| format!("{level}({lint}"));
        let compact: String = code.split_whitespace().collect();
        assert!(
            source.path == LIFTS_THE_LINT || !lifts.iter().any(|lift| compact.contains(lift)),
            "{} lifts the lint against {keyword} code",
            source.path
        );
        let mut reason_given = false;
        for line in source.text.lines().map(str::trim) {
            if line.starts_with("//") {
                reason_given |= line.starts_with("// SAFETY:");
                continue;
            }
            assert!(
                reason_given || !line.contains(&block),
                "{}: no reason for `{line}`",
                source.path
            );
            reason_given = false;
        }
    }
    let expected: BTreeSet<String> = UNSAFE.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, expected, "the list names what is there");
}

#[test]
fn only_the_training_crate_names_its_libraries() {
    let libraries = ["burn", "burn-flex", "tokenizers", "safetensors", "rand_chacha"];
    let metadata = metadata();
    for package in metadata
        .packages
        .iter()
        .filter(|package| package.name.as_str() != "ml")
    {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            assert!(
                !libraries.contains(&name) && !name.starts_with("burn"),
                "{} names {name}",
                package.name
            );
        }
    }
    let modules = [
        "burn::",
        "burn_flex::",
        "tokenizers::",
        "safetensors::",
        "use burn",
        "use tokenizers",
        "use safetensors",
    ];
    let elsewhere = ["workers/ml/", "tests/it/architecture.rs"];
    for source in sources()
        .iter()
        .filter(|source| !within(&source.path, &elsewhere))
    {
        let code = code(&source.text);
        assert!(
            !modules.iter().any(|module| code.contains(module)),
            "{} names a training library",
            source.path
        );
    }
}

/// Which of our own crates each crate may be built from.
const DIRECTIONS: [(&str, &[&str]); 16] = [
    ("event-derive", &[]),
    ("payload", &["event-derive"]),
    ("training-spec", &["payload"]),
    ("domain", &["event-derive", "payload", "training-spec"]),
    ("small-files", &[]),
    ("event-store", &["domain", "small-files"]),
    ("ml", &["small-files", "training-spec"]),
    ("objects", &["domain", "outbound"]),
    ("outbound", &["domain"]),
    ("row-derive", &[]),
    ("projections", &["domain", "event-store", "row-derive"]),
    (
        "api",
        &["domain", "event-store", "projections", "objects", "small-files"],
    ),
    (
        "workers",
        &[
            "domain",
            "event-store",
            "projections",
            "objects",
            "small-files",
            "ml",
        ],
    ),
    (
        "anneal",
        &[
            "domain",
            "event-store",
            "projections",
            "objects",
            "small-files",
            "api",
            "workers",
            "ml",
        ],
    ),
    (
        "tests",
        &[
            "payload",
            "domain",
            "event-store",
            "projections",
            "objects",
            "small-files",
            "api",
            "workers",
            "ml",
            "anneal",
        ],
    ),
    ("xtask", &[]),
];

#[test]
fn crates_depend_in_one_direction() {
    let metadata = metadata();
    let members: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let known: BTreeSet<&str> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, known, "say of every crate what it may be built from");
    for package in &metadata.packages {
        let (_, allowed) = DIRECTIONS
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .expect("known");
        let ours = dependencies(package)
            .into_iter()
            .filter(|name| members.contains(name));
        for name in ours {
            assert!(allowed.contains(&name), "{} is built from {name}", package.name);
        }
    }
}

#[test]
fn every_module_says_what_it_holds() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    assert_eq!(
        silent,
        Vec::<String>::new(),
        "these modules do not begin with //!"
    );
}

/// A name says what a file is for, not how far it has come.
#[test]
fn no_file_is_named_after_its_making() {
    let unwanted = [
        "prototype",
        "proto",
        "draft",
        "wip",
        "backup",
        "bak",
        "orig",
        "old",
        "tmp",
        "temp",
        "misc",
        "utils",
        "util",
        "helpers",
        "helper",
        "stuff",
    ];
    for path in files() {
        let lower = path.to_lowercase();
        let words = lower.split(|letter: char| !letter.is_alphanumeric());
        for word in words {
            assert!(!unwanted.contains(&word), "{path} is named '{word}'");
        }
    }
}
