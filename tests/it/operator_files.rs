//! Files of the operator that are missing, cut off, or no files at all: nothing waits for them, every verb says the same
//! of them, and what is done about it is right.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use tests::harness::{app::program, people};

/// A start or a stop that takes longer is held by something.
const LIMIT: Duration = Duration::from_secs(60);
const KEYS: [&str; 4] = ["active.pem", "pepper.key/pepper.key", "personal.key", "log.key"];

/// A data folder with an embedded database that was started and stopped.
struct Installation(tempfile::TempDir);

/// A running `anneal up`.
struct Up {
    process: Child,
    said: std::thread::JoinHandle<String>,
    url: String,
}

impl Installation {
    fn new() -> Self {
        let installation = Self(tempfile::tempdir().expect("a folder"));
        let up = installation.up().expect("a fresh one starts");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(people::administrator(&up.url, &installation.data()));
        up.stop();
        // Its second start is that of every day: the set-up token is gone.
        installation.up().expect("it starts again").stop();
        installation
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(verb)
            .arg("--data")
            .arg(self.data())
            .env_remove("DATABASE_URL");
        command
    }

    /// Starts the system; its words when it does not start.
    fn up(&self) -> Result<Up, String> {
        let mut process = self
            .command(&["up", "--listen", "127.0.0.1:0"])
            .args(["--set", "auth.argon2_memory_kib=8192"])
            .args(["--set", "auth.argon2_iterations=1"])
            .args([
                "--set",
                "worker.count=0",
                "--set",
                "audit.checkpoint_interval_ms=100",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built (cargo build -p anneal)");
        let mut words = process.stderr.take().expect("its words");
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            words.read_to_string(&mut said).expect("text");
            said
        });
        let output = process.stdout.take().expect("its output");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let (begun, mut url) = (Instant::now(), String::new());
        while begun.elapsed() < LIMIT {
            let Ok(line) = receiver.recv_timeout(LIMIT) else {
                break;
            };
            if let Some(found) = line.trim().strip_prefix("GraphQL ") {
                url = found.trim().trim_end_matches("/graphql").to_owned();
            }
            if line.contains("stays up") {
                // It listens for signals a moment after it has said so.
                std::thread::sleep(Duration::from_millis(200));
                return Ok(Up { process, said, url });
            }
        }
        process.kill().ok();
        process.wait().expect("gone");
        Err(said.join().expect("read"))
    }

    /// Exit code and words of a verb.
    fn run(&self, verb: &[&str]) -> (Option<i32>, String) {
        let output = self.command(verb).output().expect("it runs");
        let words = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&words).into_owned())
    }
}

impl Up {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
    }

    /// How it ended and what it said.
    fn ended(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().expect("gone");
        (status, self.said.join().expect("read"))
    }

    fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        let (status, said) = self.ended();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

fn pipe(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).expect("a pipe");
}

/// Before: a named pipe held `anneal up` for ever, and a file that was cut off raised the alarm that the log does not fit
/// what was signed, while `audit verify` called it whole and `doctor` blamed the key.
#[test]
fn a_newest_checkpoint_that_cannot_be_read_is_named_and_written_anew_and_signing_goes_on() {
    let installation = Installation::new();
    let path = installation.data().join("checkpoints/checkpoint");
    let whole = fs::read(&path).expect("it was exported");
    let damages: [(&dyn Fn(), &str); 3] = [
        (&|| fs::write(&path, "half\n").expect("written"), "cut off"),
        (
            &|| fs::write(&path, &whole[..whole.len() / 2]).expect("written"),
            "cut off",
        ),
        (
            &|| {
                fs::remove_file(&path).expect("removed");
                pipe(&path);
            },
            "a named pipe",
        ),
    ];
    for (damage, why) in damages {
        damage();
        for (verb, expected) in [
            (&["audit", "verify"][..], 0),
            (&["verify"], 0),
            (&["doctor"], 0),
            (&["audit", "checkpoint"], 1),
        ] {
            let (code, said) = installation.run(verb);
            assert_eq!(code, Some(expected), "{verb:?}: {said}");
            assert!(
                said.contains("checkpoints/checkpoint") && said.contains(why),
                "{verb:?}: {said}"
            );
            assert!(!said.contains("log.key"), "{verb:?}: {said}");
        }
        let up = installation.up().unwrap_or_else(|said| panic!("{why}: {said}"));
        let begun = Instant::now();
        while fs::symlink_metadata(&path).is_ok_and(|about| !about.is_file() || about.len() < 100) {
            assert!(begun.elapsed() < LIMIT, "{why}: it is not written anew");
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = up.stop();
        assert!(
            said.contains("says nothing about the log") && !said.contains("ALARM"),
            "{said}"
        );
        assert!(fs::read(&path).expect("a file").starts_with(b"anneal.log/"));
        let (code, said) = installation.run(&["audit", "verify"]);
        assert!(code == Some(0) && !said.contains("warning"), "{said}");
    }
}

/// Before: a folder without a checkpoint counted as one whose checkpoints all fit.
#[test]
fn a_named_folder_without_a_checkpoint_is_refused_and_a_missing_default_is_told() {
    let installation = Installation::new();
    let empty = installation.0.path().join("empty");
    fs::create_dir(&empty).expect("made");
    for folder in [empty.as_path(), Path::new("/etc")] {
        let named = folder.display().to_string();
        let (code, said) = installation.run(&["audit", "verify", "--checkpoints", &named]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("no checkpoint in {named}")), "{said}");
    }
    pipe(&empty.join("checkpoint"));
    let named = empty.display().to_string();
    let (code, said) = installation.run(&["audit", "verify", "--checkpoints", &named]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a named pipe"), "{said}");
    let pipe_of_key = empty.join("key");
    pipe(&pipe_of_key);
    let (code, said) = installation.run(&["audit", "verify", "--key", &pipe_of_key.display().to_string()]);
    assert!(code == Some(1) && said.contains("a named pipe"), "{said}");
    fs::rename(
        installation.data().join("checkpoints"),
        installation.0.path().join("away"),
    )
    .expect("moved");
    let (code, said) = installation.run(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: no checkpoint is in"), "{said}");
}

/// Before: `doctor` called them readable, and `up` refused them; `verify` ended with 1 for the key of personal data.
#[test]
fn doctor_and_up_say_the_same_of_every_key_file() {
    let installation = Installation::new();
    let keys = installation.data().join("keys");
    let aside = installation.0.path().join("aside");
    for name in KEYS {
        let path = keys.join(name);
        fs::rename(&path, &aside).expect("moved");
        let bytes = fs::read(&aside).expect("readable");
        let check = |damage: &str, expected: &str| {
            let (code, said) = installation.run(&["doctor"]);
            assert_eq!(code, Some(1), "{name} {damage}: {said}");
            assert!(
                said.contains(name) && said.contains(expected),
                "{name} {damage}: {said}"
            );
            let said = installation.up().err().expect("it does not start");
            assert!(
                said.contains(name) && said.contains(expected),
                "{name} {damage}: {said}"
            );
            assert!(
                !said.contains("chmod 600") || damage == "open",
                "{name} {damage}: {said}"
            );
            let (code, said) = installation.run(&["verify"]);
            assert_eq!(code, Some(3), "{name} {damage}: {said}");
            assert!(said.contains(name), "{name} {damage}: {said}");
        };
        check("missing", "missing");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        check("empty", "does not hold");
        fs::write(&path, &bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        check("open", "chmod 600");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        check("a folder", "a folder");
        fs::remove_dir(&path).expect("removed");
        pipe(&path);
        check("a pipe", "a named pipe");
        fs::remove_file(&path).expect("removed");
        fs::rename(&aside, &path).expect("put back");
    }
    let (code, said) = installation.run(&["doctor"]);
    assert_eq!(code, Some(0), "{said}");
    fs::rename(&keys, &aside).expect("moved");
    let said = installation.up().err().expect("it does not start");
    for name in KEYS {
        assert!(
            said.contains(name),
            "all that are missing are told at once: {said}"
        );
    }
    assert!(!keys.join("log.key").exists());
}

/// Before: an empty database took the place of the lost one, and was in the way of a restore.
#[test]
fn a_lost_database_is_not_replaced_by_an_empty_one() {
    let installation = Installation::new();
    let cluster = installation.data().join("postgres/cluster");
    let away = installation.0.path().join("away");
    fs::rename(&cluster, &away).expect("moved");
    let said = installation.up().err().expect("it does not start");
    assert!(
        said.contains("no database") && said.contains("Restore it"),
        "{said}"
    );
    assert!(!cluster.exists() && !cluster.with_extension("new").exists());
    let (code, said) = installation.run(&["doctor"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no database"), "{said}");
    fs::rename(&away, &cluster).expect("restored");
    installation.up().expect("it starts").stop();
}

/// Before: "file …/anneal.toml: cannot be read: Not a directory", and "File exists" for a link to nothing.
#[test]
fn what_is_no_data_folder_is_called_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, link, made) = (
        folder.path().join("file"),
        folder.path().join("link"),
        folder.path().join("pipe"),
    );
    fs::write(&file, "x").expect("written");
    std::os::unix::fs::symlink(folder.path().join("gone"), &link).expect("linked");
    pipe(&made);
    for (path, expected) in [
        (&file, "is a file, not a folder"),
        (&link, "is a link to a folder that is not there"),
        (&made, "is a named pipe, not a folder"),
        (&file.join("below"), "lies below a file"),
    ] {
        for verb in ["up", "doctor", "verify"] {
            let output = Command::new(program())
                .args([verb, "--data"])
                .arg(path)
                .env_remove("DATABASE_URL")
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{verb}: {said}");
            assert!(
                said.contains(expected) && !said.contains("anneal.toml"),
                "{verb}: {said}"
            );
        }
    }
}

/// Before: a system that something held could not be ended but by SIGKILL.
#[test]
fn a_second_signal_ends_the_system_whatever_holds_it() {
    let installation = Installation::new();
    let up = installation.up().expect("it starts");
    let pid_file = installation.data().join("postgres/cluster/postmaster.pid");
    let text = fs::read_to_string(pid_file).expect("the server runs");
    let server: i32 = text
        .lines()
        .next()
        .expect("a line")
        .trim()
        .parse()
        .expect("a number");
    kill(Pid::from_raw(server), Signal::SIGSTOP).expect("the server stands still");
    up.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    up.signal(Signal::SIGTERM);
    let (status, said) = up.ended();
    let took = begun.elapsed();
    kill(Pid::from_raw(server), Signal::SIGCONT).expect("it goes on");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(took < Duration::from_secs(3), "it took {took:?}: {said}");
    installation.up().expect("what was left is ended").stop();
}
