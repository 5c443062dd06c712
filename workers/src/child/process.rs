//! The process that trains, from its start to its certain end.
//!
//! One rule: it never outlives its owner. It has a process group of its own, which is killed when this is
//! dropped; should the worker itself die, its standard input closes and it ends by itself.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use super::{environment::inherited, lines::Lines, output::Output};
use crate::{folders::AttemptFolder, settings::WorkerSettings};

/// How long a dead process may take to be gone.
const REAP: Duration = Duration::from_secs(5);
/// How long its last words may take to arrive.
const LISTEN: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    input: Option<ChildStdin>,
    /// Its messages.
    pub(crate) lines: Lines<ChildStdout>,
    /// What else it says.
    pub(crate) output: Output,
    complaints: JoinHandle<()>,
}

impl Child {
    /// Starts the training that the job file in `folder` describes.
    pub(crate) fn start(
        settings: &WorkerSettings,
        folder: &AttemptFolder,
        environment: Vec<(&'static str, String)>,
    ) -> io::Result<Self> {
        let output = Output::create(&folder.output())?;
        let mut process = Command::new(&settings.program)
            .args(&settings.arguments)
            .arg(folder.job_file())
            .current_dir(folder.root())
            .env_clear()
            .envs(inherited())
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let missing = || io::Error::other("the process has no standard streams");
        let lines = Lines::new(process.stdout.take().ok_or_else(missing)?);
        let complaints = tokio::spawn(output.clone().drink(process.stderr.take().ok_or_else(missing)?));
        let input = process.stdin.take();
        Ok(Self {
            process,
            group,
            input,
            lines,
            output,
            complaints,
        })
    }

    /// Asks it to save its state and end. One that does not listen is not waited for here.
    pub(crate) async fn ask_to_stop(&mut self) {
        let Some(input) = &mut self.input else { return };
        let asked = tokio::time::timeout(Duration::from_millis(200), input.write_all(b"stop\n")).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::debug!("the training process does not listen any more");
        }
    }

    /// Lets it end by itself for `grace`, then kills it. Returns when it is gone; `None` when it had to be
    /// killed.
    pub(crate) async fn end(&mut self, grace: Duration) -> Option<ExitStatus> {
        if let Ok(Ok(status)) = tokio::time::timeout(grace, self.swallow_until_gone()).await {
            self.group = None;
            return Some(status);
        }
        self.kill();
        match tokio::time::timeout(REAP, self.process.wait()).await {
            Ok(Ok(_)) => self.group = None,
            Ok(Err(_)) | Err(_) => {
                tracing::error!("a killed training process is still there; is its disk stuck?");
            }
        }
        None
    }

    /// What it said last besides its messages; for when it is gone.
    pub(crate) async fn last_words(&mut self) -> String {
        // Whoever still holds its standard error open is not waited for.
        drop(tokio::time::timeout(LISTEN, &mut self.complaints).await);
        self.output.last_words()
    }

    /// Waits for its end, and takes what it still says, so that it does not wait for us.
    async fn swallow_until_gone(&mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.process.wait() => return status,
                line = self.lines.next() => {
                    if !matches!(line, Ok(super::lines::Line::Text(_))) {
                        return self.process.wait().await;
                    }
                }
            }
        }
    }

    /// Kills it with all its own children.
    fn kill(&mut self) {
        let Some(group) = self.group.filter(|_| self.process.id().is_some()) else {
            return;
        };
        if let Err(error) = killpg(group, Signal::SIGKILL) {
            tracing::debug!(%error, "a process group was gone already");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process that said no last word ended, for people.
pub(crate) fn described(status: Option<ExitStatus>, last_words: &str) -> String {
    let how = match status {
        Some(status) => match (status.signal(), status.code()) {
            (Some(9), _) => "by signal 9 (SIGKILL), usually because memory ran out".to_owned(),
            (Some(signal), _) => {
                let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
                format!("by signal {signal} ({name})")
            }
            (None, Some(code)) => format!("with status {code} before it was done"),
            (None, None) => "for an unknown reason".to_owned(),
        },
        None => "its output but not itself, and was killed".to_owned(),
    };
    match last_words {
        "" => format!("the training process ended {how}"),
        words => format!("the training process ended {how}; it said last: {words}"),
    }
}
