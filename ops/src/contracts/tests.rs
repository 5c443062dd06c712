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
    std::fs::remove_file(folder.path().join("events/jobs.JobQueued.v2.json")).expect("removed");
    std::fs::write(folder.path().join("config.md"), "else").expect("changed");
    let files: Vec<_> = check(folder.path())
        .expect("readable")
        .into_iter()
        .map(|one| one.file)
        .collect();
    assert_eq!(
        files,
        ["config.md", "events/jobs.JobQueued.v2.json"].map(std::path::PathBuf::from)
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

/// A fold that makes something else of the same log is told of, whatever else is blessed, until its version rises.
#[test]
fn a_fold_that_changed_without_its_version_is_named_and_not_blessed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path()).expect("written");
    let file = folder.path().join("read-models.json");
    let blessed = std::fs::read_to_string(&file).expect("readable");
    let mut contract: serde_json::Value = serde_json::from_str(&blessed).expect("JSON");
    let jobs = &mut contract["readModels"]["jobs.job"];
    // As if the fold of before had made other rows.
    jobs["sha256"] = json!("0".repeat(64));
    let version = jobs["version"].as_i64().expect("a version");
    let before = contract.to_string();
    std::fs::write(&file, &before).expect("changed");
    let told = check(folder.path()).expect("readable");
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("jobs.job") && told[0].contains("raise its VERSION"),
        "{told:?}"
    );
    let error = write(folder.path()).expect_err("not raised").to_string();
    assert!(
        error.contains("jobs.job") && error.contains("raise its VERSION"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), before);
    // The fold of before had a lower version: now it is a change that is wanted.
    contract["readModels"]["jobs.job"]["version"] = json!(version - 1);
    std::fs::write(&file, contract.to_string()).expect("changed");
    write(folder.path()).expect("raised");
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), blessed);
}

/// A new kind of event is recorded after what stands: it asks for no version of a read model that was there.
#[test]
fn a_new_event_does_not_ask_for_a_new_version() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path()).expect("written");
    let file = folder.path().join("read-models.json");
    let blessed = std::fs::read_to_string(&file).expect("readable");
    let contract: serde_json::Value = serde_json::from_str(&blessed).expect("JSON");
    let mut log: Vec<String> = serde_json::from_value(contract["log"].clone()).expect("names");
    log.pop().expect("the new event");
    let before = super::read_models::contract_of(folder.path(), log).expect("folded");
    std::fs::write(&file, before).expect("as before the event");
    let told: Vec<String> = check(folder.path())
        .expect("readable")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(told.len() == 1 && told[0].contains("bless"), "{told:?}");
    write(folder.path()).expect("blessed");
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), blessed);
}
