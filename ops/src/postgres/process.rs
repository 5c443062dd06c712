//! Running a short program to its end, with a deadline.

use std::io;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How often a wait looks again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs `command` to its end and returns what it said (at most a pipe's worth, 64 KiB).
///
/// # Errors
/// When it cannot be started, or has not ended after `deadline`: then it is killed.
pub(super) fn output(mut command: Command, deadline: Duration) -> io::Result<Output> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    while child.try_wait()?.is_none() {
        if begun.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            let seconds = deadline.as_secs();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no end after {seconds} s"),
            ));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    child.wait_with_output()
}

/// A command that sees nothing of our environment but where to find programs and libraries, so that
/// `PGDATA`, `PGOPTIONS` or a locale of the caller cannot change what PostgreSQL does, and secrets in our
/// environment do not reach it. It starts in `/`: PostgreSQL up to 15 walks back to where it started.
pub(super) fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .current_dir("/");
    for key in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(key) {
            command.env(key, value);
        }
    }
    command
}

/// Waits until `done` or `deadline`; says which.
pub(super) fn wait_until(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if done() {
            return true;
        }
        if begun.elapsed() > deadline {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::{clean, output};
    use std::time::Duration;

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let mut command = clean("sleep");
        command.arg("30");
        let error = output(command, Duration::from_millis(100)).expect_err("it sleeps for 30 s");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_a_program_says_comes_back() {
        let mut command = clean("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let output = output(command, Duration::from_secs(10)).expect("sh runs");
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(output.status.code(), Some(3));
    }
}
