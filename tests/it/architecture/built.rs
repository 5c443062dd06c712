//! What is built in: of what there must be one, and which tests somebody has to ask for.
//!
//! One rule: what Cargo resolves is asked, not what manifests say.

use std::{collections::BTreeMap, collections::BTreeSet, process::Command};

use super::{root, sources};

/// All packages that `from` is built from here, tests left out, with each of their versions and its features.
type Built = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// `cargo tree` and not `cargo metadata`, which also names what no feature turns on.
fn built_from(from: &str, options: &[&str]) -> Built {
    let said = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--package",
            from,
            "--edges",
            "normal,build",
        ])
        .args(["--prefix", "none", "--format", "{p}|{f}"])
        .args(options)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let mut built = Built::new();
    for line in String::from_utf8(said.stdout).expect("text").lines() {
        let line = line.trim_end_matches(" (*)");
        let (package, features) = line.split_once('|').expect("as asked");
        let mut words = package.split(' ');
        let (name, version) = (words.next().expect("a name"), words.next().expect("a version"));
        let versions = built.entry(name.to_owned()).or_default();
        let known = versions.entry(version.to_owned()).or_default();
        known.extend(features.split(',').map(str::to_owned));
    }
    assert!(built.len() > 100, "the tree was not read: {built:?}");
    built
}

/// The library of object stores is built without the client that it could have: `outbound` is its only way out.
#[test]
fn the_library_of_object_stores_has_no_client() {
    let built = built_from("anneal", &[]);
    let features: BTreeSet<&str> = built["object_store"]
        .values()
        .flatten()
        .map(String::as_str)
        .collect();
    assert!(features.contains("aws-base"), "{features:?}");
    assert!(!features.contains("reqwest"), "{features:?}");
}

/// FX1: two providers in one build make `rustls::ClientConfig::builder()` panic.
#[test]
fn the_program_is_built_with_one_tls_provider() {
    for (package, options) in [
        ("anneal", &[][..]),
        ("anneal", &["--features", "cuda"]),
        ("tests", &[]),
    ] {
        let built = built_from(package, options);
        let others = [
            "boring",
            "native-tls",
            "openssl",
            "openssl-sys",
            "ring",
            "rustls-openssl",
            "s2n-tls",
        ];
        for other in others {
            assert!(!built.contains_key(other), "{package} is built with {other}");
        }
        assert!(built.contains_key("aws-lc-rs"), "{package} has no provider");
        let rustls = &built["rustls"];
        assert_eq!(
            rustls.len(),
            1,
            "{package} has several versions of rustls: {rustls:?}"
        );
        let features = rustls.values().next().expect("one");
        assert!(
            features.contains("aws_lc_rs") && !features.contains("ring"),
            "{features:?}"
        );
    }
}

/// What costs time in every build, or is dangerous in two versions, is there once.
#[test]
fn the_workspace_has_one_sqlx_and_one_http_client() {
    let built = built_from("tests", &[]);
    for name in [
        "sqlx",
        "sqlx-core",
        "sqlx-postgres",
        "reqwest",
        "tonic",
        "hyper-rustls",
        "tokio-rustls",
    ] {
        let versions: Vec<_> = built.get(name).into_iter().flat_map(BTreeMap::keys).collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
    for name in ["kurrentdb", "cqrs-es", "postgres-es"] {
        assert!(
            !built.contains_key(name),
            "{name} belongs outside of the workspace"
        );
    }
}

/// FT4: a test that is ignored says which command runs it, or is a process that other tests start.
#[test]
fn every_ignored_test_is_run_by_a_command() {
    let mark = ["#[", "ignore"].concat();
    let verbs = std::fs::read_to_string(root().join("ops/xtask/src/main.rs")).expect("the verbs");
    let mut found = 0;
    for source in sources() {
        for (at, _) in source.text.match_indices(&mark) {
            found += 1;
            let line = source.text[at..].lines().next().unwrap_or_default();
            let verb = line
                .split("cargo xtask ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let known = verb.is_some_and(|verb| verbs.to_lowercase().contains(&format!("task::{verb}")));
            let started = line.contains("they run it");
            assert!(
                known || started,
                "{}: {line} names no command that runs it",
                source.path
            );
        }
        // In a macro the attribute is put together, and the search above would not see it.
        let hidden = ["[", "(", ", "].map(|before| format!("{before}{} = $", &mark[2..]));
        assert!(
            !hidden.iter().any(|part| source.text.contains(part)),
            "{} hides ignored tests in a macro",
            source.path
        );
    }
    assert!(found > 0, "the search finds nothing");
}
