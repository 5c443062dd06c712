//! `cargo xtask peers [NAME…]`: runs the heavy peers, the tests that need what no ordinary build shall pay for.
//!
//! The rule: every test that `cargo test` does not run by itself stands in [`PEERS`] with what it proves and what it
//! needs, and each run leaves its date and its outcome in `tests/PEERS.md`.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::record::{said, with_row};

/// Where outcomes are kept.
const RECORD: &str = "tests/PEERS.md";
/// The lines between which they stand there.
const MARKS: [&str; 2] = ["<!-- runs: begin -->", "<!-- runs: end -->"];

/// Tests against something heavy.
struct Peer {
    /// What it is called on the command line.
    name: &'static str,
    /// What a run that passes proves.
    proves: &'static str,
    /// Environment variables that it needs, with what they name.
    needs: &'static [(&'static str, &'static str)],
    /// What runs it.
    run: Run,
}

/// What runs a peer's tests.
enum Run {
    /// Cargo, told this.
    Cargo(&'static [&'static str]),
    /// The script `test` of the package in that folder, after an install as its lock says.
    Npm(&'static str),
}

impl Run {
    fn run(&self, root: &Path) -> Result<()> {
        match self {
            Self::Cargo(arguments) => crate::cargo(root, arguments),
            Self::Npm(folder) => {
                npm(root, folder, &["ci", "--no-audit", "--no-fund"])?;
                npm(root, folder, &["test"])
            }
        }
    }
}

fn npm(root: &Path, folder: &str, arguments: &[&str]) -> Result<()> {
    let npm = Command::new("npm")
        .args(arguments)
        .current_dir(root.join(folder))
        .status();
    let status = npm.context("npm could not be run")?;
    ensure!(
        status.success(),
        "`npm {}` failed in {folder} ({status})",
        arguments.join(" ")
    );
    Ok(())
}

/// All of them.
const PEERS: &[Peer] = &[
    Peer {
        name: "graphql-clients",
        proves: "the compilers of Relay and GraphQL Code Generator take the schema, and their types fit what clients do",
        needs: &[],
        run: Run::Npm("tests/peers/graphql-clients"),
    },
    Peer {
        name: "kurrentdb-client",
        proves: "the official client of KurrentDB reads what the adapter wrote, and takes connection strings as it does",
        needs: &[],
        // Not `--locked`: its lock follows what our own crates, which it is built from, depend on.
        run: Run::Cargo(&[
            "test",
            "--manifest-path",
            "tests/peers/kurrentdb-client/Cargo.toml",
        ]),
    },
    Peer {
        name: "kurrentdb",
        proves: "a real KurrentDB keeps the contract of the event store",
        needs: &[(
            "ANNEAL_TEST_KURRENTDB",
            "the address of an empty server, as kurrentdb://localhost:2113?tls=false",
        )],
        run: Run::Cargo(&[
            "test",
            "--locked",
            "--package",
            "tests",
            "--features",
            "kurrentdb-server",
            "--test",
            "it",
            "event_store::kurrentdb_server",
            "--",
            "--test-threads=1",
        ]),
    },
    Peer {
        name: "s3s-fs",
        proves: "an S3 server that checks signatures and conditions keeps the contract of the object store",
        needs: &[],
        // Not `--locked`: as for kurrentdb-client.
        run: Run::Cargo(&["test", "--manifest-path", "tests/peers/s3s-fs/Cargo.toml"]),
    },
    Peer {
        name: "sentence-transformers",
        proves: "embeddings of a published model are those of sentence-transformers",
        needs: &[
            ("ANNEAL_TEST_ENCODER", "the folder of the model"),
            (
                "ANNEAL_TEST_EMBEDDINGS",
                "the file with what workers/ml/fixtures/make_encoder_fixtures.py printed",
            ),
        ],
        run: Run::Cargo(&[
            "test",
            "--locked",
            "--package",
            "ml",
            "--test",
            "it",
            "encoder::embeddings_of_a_published_model",
            "--",
            "--ignored",
            "--nocapture",
        ]),
    },
];

/// Which to run.
#[derive(clap::Args)]
pub(crate) struct DrillOptions {
    /// Their names; without any, all are listed.
    names: Vec<String>,
}

/// Runs those that are named one after the other, also after one has failed; lists all when none is named.
pub(crate) fn run(root: &Path, options: &DrillOptions) -> Result<()> {
    if options.names.is_empty() {
        return list();
    }
    let chosen = options
        .names
        .iter()
        .map(|name| find(name))
        .collect::<Result<Vec<_>>>()?;
    for peer in &chosen {
        peer.check_needs(|name| std::env::var_os(name).is_some())?;
    }
    let mut failed = Vec::new();
    for peer in chosen {
        eprintln!("==> {}: {}", peer.name, peer.proves);
        let passed = peer.run.run(root).is_ok();
        record(root, peer.name, passed)?;
        if !passed {
            failed.push(peer.name);
        }
    }
    ensure!(failed.is_empty(), "these peers failed: {}", failed.join(", "));
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "as the other tasks")]
fn list() -> Result<()> {
    for peer in PEERS {
        println!("{:<22} {}", peer.name, peer.proves);
        for (name, what) in peer.needs {
            println!("{:<22} needs {name}: {what}", "");
        }
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Peer> {
    let known = || PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
    let found = PEERS.iter().find(|peer| peer.name == name);
    found.with_context(|| format!("there is no peer '{name}'; there are {}", known()))
}

impl Peer {
    /// A peer that is not there is no peer that passed.
    fn check_needs(&self, is_set: impl Fn(&str) -> bool) -> Result<()> {
        let missing: Vec<String> = self
            .needs
            .iter()
            .filter(|(name, _)| !is_set(name))
            .map(|(name, what)| format!("{name} ({what})"))
            .collect();
        ensure!(
            missing.is_empty(),
            "{} needs {}",
            self.name,
            missing.join(" and ")
        );
        Ok(())
    }
}

/// Writes the outcome of a run down, with today's date in UTC and the commit.
fn record(root: &Path, name: &str, passed: bool) -> Result<()> {
    let day = said(root, "date", &["-u", "+%F"])?;
    let commit = said(root, "git", &["rev-parse", "--short=10", "HEAD"])?;
    let outcome = if passed { "passed" } else { "**failed**" };
    let path = root.join(RECORD);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let row = format!("| {name} | {day} | {commit} | {outcome} |");
    let text = with_row(&text, MARKS, name, &row).with_context(|| path.display().to_string())?;
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{MARKS, PEERS, RECORD, find};
    use crate::record::with_row;

    #[test]
    fn every_peer_is_described_where_its_runs_are_recorded() {
        let text = std::fs::read_to_string(crate::root().expect("a root").join(RECORD)).expect("a record");
        for peer in PEERS {
            let heading = format!("\n## {}\n", peer.name);
            assert!(
                text.contains(&heading),
                "{RECORD} does not describe {}",
                peer.name
            );
        }
        with_row(&text, MARKS, "any", "| any |").expect("marks");
    }

    #[test]
    fn a_peer_without_what_it_needs_is_refused_by_the_name_of_what_is_missing() {
        let peer = find("kurrentdb").expect("known");
        let error = peer.check_needs(|_| false).expect_err("refused").to_string();
        assert!(error.contains("ANNEAL_TEST_KURRENTDB"), "{error}");
        peer.check_needs(|_| true).expect("there");
        assert!(find("nobody").is_err());
    }
}
