//! The signals that end a process: Ctrl-C, SIGTERM, and SIGHUP of a terminal that was closed.
//!
//! The rule: the first one ends in order, a second SIGINT or SIGTERM at once. They are listened for from the beginning
//! by one listener, so that none is lost between two waits.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The most that is read of what the system says of a process, in bytes.
const STATUS: u64 = 64 << 10;
/// Number of SIGHUP.
const HANGUP: u32 = 1;

/// Listens for the signals that end a process.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where it is ignored (`nohup`).
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on; without, these signals end the process at once.
    ///
    /// # Errors
    /// When the system does not let us listen.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let status = small_files::read_text(Path::new("/proc/self/status"), STATUS).unwrap_or_default();
        Ok(Self {
            hangup: (!is_ignored(&status, HANGUP))
                .then(|| listen(SignalKind::hangup()))
                .transpose()?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Comes back at the first of them.
    pub async fn first(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    /// Comes back when somebody insists. A further SIGHUP does not: closing a terminal brings two of them.
    pub async fn again(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether a process with this `/proc/<pid>/status` ignores a signal (proc(5), `SigIgn`).
fn is_ignored(status: &str, number: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::is_ignored;

    #[test]
    fn an_ignored_signal_is_known_by_its_bit() {
        let status = "Name:\tanneal\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, 1) && is_ignored(status, 13));
        assert!(!is_ignored(status, 2) && !is_ignored("", 1));
    }
}
