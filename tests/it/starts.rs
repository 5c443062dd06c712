//! The real binary as it starts and ends: mistakes of the configuration, folders that cannot be used, signals.
//!
//! The rule: a mistake is exit code 2, another hindrance 1, each one line that names what to look at; a signal drains.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::harness::{app::program, database};

const SOON: Duration = Duration::from_secs(60);

fn anneal(words: &[&str], url: &str, data: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .args(words)
        .arg("--data")
        .arg(data)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null());
    command
}

fn up(url: &str, data: &Path, settings: &[&str]) -> Command {
    let mut command = anneal(
        &["up", "--listen", "127.0.0.1:0", "--set", "worker.count=0"],
        url,
        data,
    );
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// Exit code and standard error of a start that is refused.
async fn refused(mut command: Command) -> (Option<i32>, String) {
    let output: Output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("no panic")
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("hunter2"), "{told}");
    (output.status.code(), told)
}

/// TLS was off by a typo, with a warning only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_url_with_a_mistake_is_a_mistake_of_the_configuration() {
    let room = tempfile::tempdir().expect("a folder");
    let url = "postgres://anneal:hunter2@127.0.0.1:9/anneal?sslmod=verify-full";
    let (code, told) = refused(up(url, room.path(), &["http.body_limit=1"])).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("2 mistakes") && told.contains("database.url"),
        "{told}"
    );
    assert!(
        told.contains("unknown parameter 'sslmod'; known: sslmode"),
        "{told}"
    );
    let (code, told) = refused(anneal(
        &["doctor"],
        &url.replace("sslmod", "sslmode").replace("verify-full", "banana"),
        room.path(),
    ))
    .await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("sslmode: expected disable, allow"), "{told}");
}

/// One line: where, why, and what to look at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_named_in_one_line() {
    let room = tempfile::tempdir().expect("a folder");
    let (data, url) = (
        room.path().join("data"),
        "postgres://anneal:hunter2@127.0.0.1:9/anneal",
    );
    let (code, told) = refused(up(url, &data, &[])).await;
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("127.0.0.1:9: Connection refused"), "{told}");
    assert!(told.contains("check that it runs"), "{told}");
    // A real server that says no.
    let database = database().await;
    let absent = database.url.replace(&database.name, "nothing_here");
    let (code, told) = refused(up(&absent, &data, &[])).await;
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("3D000") && !told.contains("at line"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_cannot_be_used_refuse_a_start_and_are_found_by_doctor() {
    let (room, database) = (tempfile::tempdir().expect("a folder"), database().await);
    let file = room.path().join("file");
    std::fs::write(&file, "").expect("written");
    let data = room.path().join("data");
    let under_file = format!("audit.checkpoint_folder={}/x", file.display());
    for (setting, expected, named) in [
        (
            "audit.checkpoint_folder=/proc/anneal",
            1,
            "audit.checkpoint_folder",
        ),
        (&under_file, 1, "audit.checkpoint_folder"),
        ("models.folder=/nonexist", 2, "models.folder: /nonexist"),
        (&format!("models.folder={}", file.display()), 2, "models.folder"),
    ] {
        let (code, told) = refused(up(&database.url, &data, &[setting])).await;
        assert_eq!(code, Some(expected), "{setting}: {told}");
        assert!(told.contains(named), "{setting}: {told}");
        let mut doctor = anneal(&["doctor", "--json", "--set", setting], &database.url, &data);
        let output = doctor.output().expect("it runs");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let failed = report["checks"].as_array().into_iter().flatten();
        let failed = failed.filter(|check| check["verdict"] == "fail");
        let names: Vec<&str> = failed.filter_map(|check| check["name"].as_str()).collect();
        let named = if setting.starts_with("models") {
            "models folder"
        } else {
            "checkpoint folder"
        };
        assert!(names.contains(&named), "{setting}: {names:?}");
    }
}

/// A process that is up; killed when dropped.
struct Up(Child);

impl Up {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("stays up at")));
        assert!(ready, "it is not up");
        // The rest is read, so that it is not written in vain.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("it is there");
    }

    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < SOON, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// SIGHUP ended the process at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_terminal_drains_as_sigterm_does() {
    let (room, database) = (tempfile::tempdir().expect("a folder"), database().await);
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        // Tests that were themselves started by `nohup` hand on that SIGHUP is ignored.
        let mut listening = Command::new("env");
        let up = up(&database.url, room.path(), &[]);
        listening
            .arg("--default-signal=HUP")
            .arg(up.get_program())
            .args(up.get_args())
            .env("DATABASE_URL", &database.url)
            .stdin(Stdio::null());
        let mut process = Up::start(listening);
        process.signal(signal);
        assert_eq!(process.ended(), Some(0), "{signal}");
    }
    // As nohup does.
    let mut ignoring = Command::new("sh");
    let up = up(&database.url, room.path(), &[]);
    ignoring
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(up.get_program())
        .args(up.get_args())
        .env("DATABASE_URL", &database.url)
        .stdin(Stdio::null());
    let mut process = Up::start(ignoring);
    process.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(process.0.try_wait().expect("a child").is_none(), "nohup keeps it");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ended(), Some(0));
}

/// A path with a mistake in it is not made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_does_not_make_folders_above_its_own() {
    let (room, database) = (tempfile::tempdir().expect("a folder"), database().await);
    let mut process = Up::start(up(&database.url, room.path(), &[]));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.ended(), Some(0));
    let out = room.path().join("no/such/export");
    let out = out.display().to_string();
    let (code, told) = refused(anneal(
        &["audit", "export", "--out", &out],
        &database.url,
        room.path(),
    ))
    .await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no/such"), "{told}");
    assert!(!room.path().join("no").exists());
}
