//! FR14, FR15: what the binary writes, with whatever is in it, to whoever still reads.

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use domain::text::steers;
use tests::harness::{TestApp, TestOptions, app::program};

fn anneal(words: &[&str], url: &str, data: &str) -> Command {
    let mut command = Command::new(program());
    command.args(words).env("DATABASE_URL", url).stdin(Stdio::null());
    if !data.is_empty() {
        command.args(["--data", data]);
    }
    command
}

/// Runs `command` with a standard output that nobody reads, and waits for its end.
fn unread(mut command: Command) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // The command holds its end of the pipe too.
    drop(command);
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(90), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("its output")
}

/// FR15: as `anneal … | true`: no word of it, no panic, and the exit code that it has anyway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_pipe_is_a_quiet_end_of_every_verb() {
    let app = TestApp::start().await;
    let data = app.data_dir.display().to_string();
    let checkpoint = app.data_dir.join("checkpoints/checkpoint");
    while !checkpoint.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let export = app.data_dir.join("export").display().to_string();
    let out = ["audit", "export", "--out", &export];
    let key = app.data_dir.join("keys/log.vkey").display().to_string();
    let exported = ["audit", "verify", "--export", &export, "--key", &key];
    let verbs: [(&[&str], bool); 19] = [
        (&["audit", "checkpoint"], true),
        (&["audit", "key"], true),
        (&["audit", "verify"], true),
        (&["audit", "verify", "--json"], true),
        (&out, true),
        (&exported, false),
        (&["verify"], true),
        (&["verify", "--json"], true),
        (&["doctor"], true),
        (&["doctor", "--json"], true),
        (&["replay", "--check", "--all"], true),
        (&["replay", "--check", "--all", "--json"], true),
        (&["devices"], false),
        (&["devices", "--json"], false),
        (&["devices", "--check", "cpu"], false),
        (&["completions", "bash"], false),
        (&["completions", "zsh"], false),
        (&["--help"], false),
        (&["--version"], false),
    ];
    for (words, on_data) in verbs {
        let output = unread(anneal(words, &app.database_url, if on_data { &data } else { "" }));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{words:?}");
    }
    // Where there is no server, that is the end, whoever reads.
    let output = unread(anneal(
        &["demo", "--quick", "--url", "http://127.0.0.1:9"],
        "",
        &data,
    ));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: Anneal does not answer at http://127.0.0.1:9"),
        "{said}"
    );
    app.stop().await;
}

/// The demo ends when nobody watches it; a system that is up goes on, and stops in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_nobody_watches_ends_and_a_system_goes_on() {
    let app = TestApp::bare(TestOptions::default()).await;
    let data = app.data_dir.display().to_string();
    let output = unread(anneal(&["demo", "--quick", "--url", &app.url], "", &data));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
    app.stop().await;
}

/// Not a reader that has gone, but a disk that is full: that is told.
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    for words in [&["completions", "bash"][..], &["devices"]] {
        let full = full.try_clone().expect("a handle");
        let output = anneal(words, "", "").stdout(full).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("No space left"), "{words:?}: {said}");
    }
}

/// FR14: answers, complaints and both kinds of log of the real binary, with a name that steers a terminal in them.
#[test]
fn what_the_binary_says_never_steers_a_terminal() {
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}\u{7}\r\u{7f}x";
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join(hostile);
    std::fs::create_dir(&data).expect("made");
    let path = data.to_str().expect("text");
    let up = ["up", "--listen", "127.0.0.1:0", "--set"];
    let (human, json) = (
        [&up[..], &["log.format=human"]].concat(),
        [&up[..], &["log.format=json"]].concat(),
    );
    let verbs: [&[&str]; 6] = [
        &human,
        &json,
        &["doctor"],
        &["doctor", "--json"],
        &["audit", "key"],
        &["audit", "checkpoint"],
    ];
    for words in verbs {
        // Open to others: the log of a start says so, with its name.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&data, open).expect("set");
        let output = anneal(words, "postgres://nobody@127.0.0.1:9/none", path)
            .output()
            .expect("it runs");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        let raw: Vec<char> = said
            .chars()
            .filter(|letter| *letter != '\n' && steers(*letter))
            .collect();
        assert!(raw.is_empty(), "{words:?}: {raw:?} {said:?}");
        assert!(
            said.contains("\\u001b[2J"),
            "{words:?} tells where it looked: {said}"
        );
        if words[0] == "up" {
            assert!(said.contains("was open to others"), "{said}");
        }
    }
}
