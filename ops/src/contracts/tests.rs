//! Writing and checking contracts in a folder of one's own.

use super::{check, compare, kind_and_version, write};
use serde_json::json;

#[test]
fn what_was_written_agrees_and_is_not_written_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = write(folder.path()).expect("written");
    assert!(written.len() > 30, "{written:?}");
    assert_eq!(check(folder.path()).expect("readable"), []);
    assert!(write(folder.path()).expect("written").is_empty());
}

#[test]
fn a_missing_and_a_changed_contract_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path()).expect("written");
    std::fs::remove_file(folder.path().join("events/jobs.JobQueued.v1.json")).expect("removed");
    std::fs::write(folder.path().join("config.md"), "else").expect("changed");
    let files: Vec<_> = check(folder.path())
        .expect("readable")
        .into_iter()
        .map(|one| one.file)
        .collect();
    assert_eq!(
        files,
        ["config.md", "events/jobs.JobQueued.v1.json"].map(std::path::PathBuf::from)
    );
}

#[test]
fn a_golden_payload_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path()).expect("written");
    let golden = folder.path().join("events/jobs.JobCancelled.v1.json");
    let other = r#"{"attempt": 2, "reason": "another"}"#;
    std::fs::write(&golden, other).expect("changed");
    std::fs::write(folder.path().join("config.md"), "else").expect("changed");
    let error = write(folder.path()).expect_err("it differs").to_string();
    assert!(error.contains("events/jobs.JobCancelled.v1.json"), "{error}");
    assert_eq!(std::fs::read_to_string(&golden).expect("readable"), other);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("config.md")).expect("readable"),
        "else"
    );
}

#[test]
fn an_old_payload_that_cannot_be_read_is_named() {
    let unreadable = compare("jobs.JobCancelled.v1.old.json", "{}", None).expect_err("fields are missing");
    assert!(unreadable.contains("upcaster"), "{unreadable}");
    let unknown = compare("jobs.JobVanished.v1.json", "{}", None).expect_err("no such event");
    assert!(unknown.contains("jobs.JobVanished"), "{unknown}");
    let readable = json!({"attempt": 1, "reason": "of a case that is no longer written"}).to_string();
    assert_eq!(compare("jobs.JobCancelled.v1.old.json", &readable, None), Ok(()));
}

#[test]
fn names_of_golden_payloads_are_read() {
    assert_eq!(
        kind_and_version("jobs.JobQueued.v12.json"),
        Some(("jobs.JobQueued", 12))
    );
    assert_eq!(
        kind_and_version("jobs.JobQueued.v1.lora.json"),
        Some(("jobs.JobQueued", 1))
    );
    for name in [
        "jobs.JobQueued.json",
        "jobs.JobQueued.1.json",
        "jobs.v1.json",
        "a.B.v1.c.d.json",
        "a.B.v1.txt",
    ] {
        assert_eq!(kind_and_version(name), None, "{name}");
    }
}
