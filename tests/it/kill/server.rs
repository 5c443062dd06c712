//! The real binary as a child process: started, armed, signalled and killed.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::harness::app::program;
pub(super) use tests::harness::processes::children;

/// How long a start may take, a recovery included, on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// How long an end may take.
const END: Duration = Duration::from_secs(90);

/// What a start is given besides the folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    /// `point=action;…`; empty arms nothing.
    pub(super) armed: String,
    /// The file to which points are written that were reached.
    pub(super) reached: PathBuf,
    /// Further `--set key=value`.
    pub(super) settings: Vec<String>,
}

/// A running `anneal up`. Dropped, it is killed.
pub(super) struct Server {
    process: Child,
    pub(super) url: String,
}

/// A command of the binary on the data folder, told everything by flags.
pub(super) fn anneal(verb: &[&str], data: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .args(verb)
        .arg("--data")
        .arg(data)
        .env_remove("DATABASE_URL");
    command
}

/// Refuses to go on with a binary that would not die where it is told to.
pub(super) fn assert_has_fail_points() {
    let output = Command::new(program())
        .arg("--version")
        .env("ANNEAL_FAIL_POINTS", "no.such.point=kill")
        .output()
        .expect("the binary is built (cargo build -p anneal --features fail-points)");
    assert!(
        !output.status.success(),
        "{} has no fail points; build it with: cargo build -p anneal --features fail-points \
         (cargo test --workspace does)",
        program().display()
    );
}

impl Server {
    /// Starts, and waits until it listens.
    ///
    /// # Errors
    /// How it ended, if it did so before.
    pub(super) fn start(data: &Path, start: &Start) -> Result<Self, ExitStatus> {
        let said = data.with_extension("log");
        let said = OpenOptions::new()
            .append(true)
            .create(true)
            .open(said)
            .expect("a log");
        let mut command = anneal(&["up", "--listen", "127.0.0.1:0"], data);
        for setting in [
            "worker.lease_seconds=3",
            "worker.threads=1",
            "worker.max_attempts=100",
            "log.level=warn",
            "auth.argon2_memory_kib=8192",
        ] {
            command.args(["--set", setting]);
        }
        for setting in &start.settings {
            command.args(["--set", setting]);
        }
        if !start.armed.is_empty() {
            command.env("ANNEAL_FAIL_POINTS", &start.armed);
            command.env("ANNEAL_FAIL_POINTS_REACHED", &start.reached);
        }
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .expect("the binary is built");
        let output = process.stdout.take().expect("its output");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = line.trim().strip_prefix("GraphQL ") {
                    drop(sender.send(url.trim().trim_end_matches("/graphql").to_owned()));
                }
            }
        });
        let mut server = Self {
            process,
            url: String::new(),
        };
        match receiver.recv_timeout(READY) {
            Ok(url) => server.url = url,
            Err(RecvTimeoutError::Disconnected) => return Err(server.ended()),
            Err(RecvTimeoutError::Timeout) => panic!("not ready: {}", last_words(data)),
        }
        Ok(server)
    }

    /// Its process id.
    pub(super) fn id(&self) -> i32 {
        i32::try_from(self.process.id()).expect("a pid")
    }

    pub(super) fn signal(&self, signal: Signal) {
        match kill(Pid::from_raw(self.id()), signal) {
            // It may be gone already.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => panic!("{signal}: {error}"),
        }
    }

    /// Whether it has ended.
    pub(super) fn is_gone(&mut self) -> bool {
        self.process.try_wait().expect("a child").is_some()
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return status;
            }
            assert!(begun.elapsed() < END, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As a power cut would end it.
    pub(super) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    /// As Ctrl-C ends it.
    pub(super) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGINT);
        self.ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.is_gone() {
            self.signal(Signal::SIGCONT);
            self.signal(Signal::SIGKILL);
            self.ended();
        }
    }
}

/// The process id of the embedded PostgreSQL's postmaster.
pub(super) fn postmaster(data: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data.join("postgres/cluster/postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// The end of what the servers on `data` have said.
pub(super) fn last_words(data: &Path) -> String {
    let text = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// `anneal verify --json`.
pub(super) fn verify(data: &Path, acknowledgements: &Path) -> Output {
    let mut command = anneal(&["verify", "--json"], data);
    command.arg("--acknowledged").arg(acknowledgements);
    command.output().expect("it runs")
}
