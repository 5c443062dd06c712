//! The shell that stands between us and the server, so that the server never outlives us.
//!
//! Its standard input is a pipe that only this process holds open. When the pipe closes, because we closed
//! it or because we were killed, the shell asks the server for a fast shutdown (transactions are rolled
//! back, a checkpoint is written), and after a minute for an immediate one. It runs in a process group of
//! its own, so that `Ctrl-C` reaches us alone and we can stop things in order.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use super::error::ClusterError;
use super::handle::FolderHandle;
use super::{Account, process};

/// `$@` is the server. Its folder comes as standard output (see [`FolderHandle`]). Only builtins run beside it, so nothing else can be left behind. The reading
/// subshell gets `kill -9` because it inherits the ignored signals.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
exec 3<&0 9<&1 1>&2
"$@" </dev/null 3<&- &
server=$!
(
    while read -r _ <&3; do :; done
    kill -INT "$server"
    left=60
    while [ "$left" -gt 0 ] && kill -0 "$server"; do sleep 1; left=$((left - 1)); done
    kill -QUIT "$server"
) 2>/dev/null &
watcher=$!
wait "$server"
code=$?
kill -KILL "$watcher" 2>/dev/null
exit "$code"
"#;

/// How long a server may take to stop: the supervisor's minute, and the immediate shutdown after it.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(75);

/// The running supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts the server `program` on `folder`, with what it says before it has a log going to `said`.
    pub(super) fn start(
        program: &Path,
        folder: &FolderHandle,
        account: &Account,
        said: File,
    ) -> Result<Self, ClusterError> {
        let mut command = process::clean("/bin/sh");
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg("anneal-postgres")
            .arg(program)
            .arg("-D")
            .arg(folder.name());
        command
            .stdin(Stdio::piped())
            .stdout(folder.stream()?)
            .stderr(said)
            .process_group(0);
        account.apply(&mut command);
        let failed = |source| ClusterError::Program {
            program: program.to_owned(),
            source,
        };
        let mut child = command.spawn().map_err(failed)?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    /// Whether the server has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the server to stop and waits until it has, at most [`STOP_DEADLINE`]; says whether it did.
    pub(super) fn stop(&mut self) -> bool {
        self.lifeline = None;
        process::wait_until(STOP_DEADLINE, || self.has_ended())
    }
}
