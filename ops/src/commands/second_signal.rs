//! The end that no part of the system can hold up.
//!
//! The rule: the second SIGINT or SIGTERM ends the process, whatever its threads wait for. It is waited for on a thread
//! of its own, since a thread of the system may be held by a file system that does not answer.

use std::{process, thread, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use crate::complain;

/// How long the system has to end by itself, which it does unless something holds it.
const GRACE: Duration = Duration::from_secs(1);
/// The exit code of a process that a signal ended.
const ENDED: i32 = 130;

/// Ends this process at the second signal.
pub(super) fn watch() {
    let watching = thread::Builder::new().name("second signal".to_owned());
    if let Err(error) = watching.spawn(wait) {
        complain!("warning: a second signal may not end this process: {error}");
    }
}

fn wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let waited = runtime.and_then(|runtime| runtime.block_on(two_signals()));
    if let Err(error) = waited {
        complain!("warning: a second signal may not end this process: {error}");
        return;
    }
    thread::sleep(GRACE);
    complain!("Stopped at once; nothing that was acknowledged is lost.");
    process::exit(ENDED);
}

async fn two_signals() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    for _ in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    Ok(())
}
