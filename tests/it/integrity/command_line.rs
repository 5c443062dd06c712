//! `anneal audit` as an auditor runs it: its words, and the exit codes that scripts rely on (AU-6).

use std::process::Command;

use event_store::{integrity::KeyFileError, postgres::IntegrityError};
use serde_json::Value;
use tests::harness::app::program;

use super::Fixture;

/// What a run of the binary gave: exit code, standard output, standard error.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

/// `anneal audit` with these words, on the database and the folder of `fixture` where `database` says so.
fn audit(fixture: &Fixture, words: &[&str], database: bool) -> Ran {
    let mut command = Command::new(program());
    command
        .arg("audit")
        .args(words)
        .current_dir(fixture.folder.path());
    command.env_remove("DATABASE_URL");
    if database {
        command.env("DATABASE_URL", &fixture.database.url);
        command.arg("--data").arg(fixture.folder.path());
    }
    let output = command.output().expect("the binary is built");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What an auditor takes away can be checked on another machine, with the key alone; and a changed byte is
/// found there.
#[tokio::test]
async fn an_export_is_made_and_checked_and_a_changed_byte_is_found() {
    let fixture = Fixture::new().await;
    fixture.signed_in_steps(&[30, 20]).await;
    let key = audit(&fixture, &["key"], true);
    assert_eq!(key.code, Some(0), "{}", key.err);
    assert!(key.out.starts_with("log.example/test+"), "{}", key.out);
    let checkpoint = audit(&fixture, &["checkpoint"], true);
    assert_eq!(checkpoint.out.lines().nth(1), Some("50"), "{}", checkpoint.err);

    let made = audit(&fixture, &["export", "--out", "exported"], true);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let check = [
        "verify",
        "--export",
        "exported",
        "--json",
        "--key",
        key.out.trim(),
    ];
    let whole = audit(&fixture, &check, false);
    assert_eq!((whole.code, whole.json()["events"].as_u64()), (Some(0), Some(50)));

    std::fs::write(fixture.path("exported/more.jsonl"), "not ours").expect("written");
    let more = audit(&fixture, &check, false);
    assert_eq!(
        (more.code, &more.json()["unlisted"]),
        (Some(0), &serde_json::json!(["more.jsonl"]))
    );

    let again = audit(&fixture, &["export", "--out", "exported"], true);
    assert_eq!(again.code, Some(1), "an export was written over: {}", again.out);

    let file = fixture.path("exported/events-00000000000000000001.jsonl");
    let mut bytes = std::fs::read(&file).expect("events");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let changed = audit(&fixture, &check, false);
    assert_eq!(
        (changed.code, &changed.json()["ok"]),
        (Some(3), &Value::Bool(false))
    );
}

/// Nothing can be checked without the key, and saying so is not the same as finding damage.
#[tokio::test]
async fn without_its_key_a_signed_log_does_not_count_as_whole() {
    let fixture = Fixture::new().await;
    fixture.signed_in_steps(&[10]).await;
    let whole = audit(&fixture, &["verify", "--json"], true);
    assert_eq!(
        (whole.code, whole.json()["signed"].as_u64()),
        (Some(0), Some(10)),
        "{}",
        whole.err
    );
    let counted = |ran: &Ran| {
        let json = ran.json();
        (json["checkpoints"].as_u64(), json["exportedCheckpoints"].as_u64())
    };
    assert_eq!(counted(&whole), (Some(1), Some(1)), "{}", whole.out);
    std::fs::create_dir(fixture.path("none")).expect("a folder");
    let alone = audit(&fixture, &["verify", "--json", "--checkpoints", "none"], true);
    assert_eq!(alone.code, Some(1), "{}", alone.out);
    assert!(alone.err.contains("no checkpoint in none"), "{}", alone.err);
    let told = audit(&fixture, &["verify"], true);
    assert!(
        told.out.contains("1 recorded and 1 exported checkpoints fit"),
        "{}",
        told.out
    );
    let key = std::fs::read_to_string(fixture.path("keys/log.vkey")).expect("a key");
    for file in ["keys/log.key", "keys/log.vkey"] {
        std::fs::rename(fixture.path(file), fixture.path(&format!("{file}.away"))).expect("moved");
    }
    let without = audit(&fixture, &["verify"], true);
    assert_eq!(without.code, Some(1), "{}", without.out);
    assert!(without.err.contains("--key"), "{}", without.err);
    let given = audit(&fixture, &["verify", "--json", "--key", key.trim()], true);
    assert_eq!(given.code, Some(0), "{}", given.err);
    let export = audit(&fixture, &["export", "--out", "exported"], true);
    assert_eq!(export.code, Some(1), "{}", export.out);
    assert!(export.err.contains("anneal up"), "{}", export.err);
}

/// A process that is not to sign says what it lacks; with the public key it serves what others sign.
#[tokio::test]
async fn who_does_not_sign_needs_the_public_key() {
    let fixture = Fixture::new().await;
    let mut settings = fixture.settings();
    settings.sign = false;
    let error = fixture.try_start(settings.clone()).await.expect_err("no key");
    assert!(
        matches!(error, IntegrityError::Key(KeyFileError::NoPublic { .. })),
        "{error}"
    );
    fixture.signed_in_steps(&[5]).await;
    // Only the public half travels.
    std::fs::remove_file(fixture.path("keys/log.key")).expect("removed");
    let integrity = fixture.try_start(settings).await.expect("it only answers");
    let latest = integrity.latest().await.expect("readable").expect("signed");
    assert_eq!(latest.size, 5);
}
