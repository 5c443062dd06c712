//! What only this process has of erased persons: mails in its outbox, folded states in its memory (AU-7).
//!
//! One rule: each process removes its own, from where it stopped the last time: how far it is stands in a file beside the
//! data, so that a start looks at what was erased since, however many were before.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use api::app::App;
use domain::{aggregate::Aggregate as _, identity::user::User, notifications::mail::Mailer};
use projections::identity::erasure;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often new erasures are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// Deadline of one round.
const DEADLINE: Duration = Duration::from_secs(60);
/// The file in the data folder that says how far this process is.
const FILE: &str = "erased-up-to";
/// The most that is read of it, in bytes.
const LARGEST: u64 = 64;

/// Removes what is here of erased persons, until `stop` is cancelled.
///
/// # Errors
/// When the file that says how far it is cannot be read.
pub(super) fn start(
    app: App,
    mailer: Arc<dyn Mailer>,
    data_dir: &Path,
    stop: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let file = data_dir.join(FILE);
    // After a restore the log may end before: what is erased there anew has to be found.
    let head = i64::try_from(app.ports.store.known_head().0).unwrap_or(i64::MAX);
    let mut local = LocalErasure {
        reached: reached(&file)?.min(head),
        app,
        mailer,
        file,
    };
    Ok(tokio::spawn(async move {
        let mut told = false;
        loop {
            let wait = match tokio::time::timeout(DEADLINE, local.round()).await {
                Ok(Ok(())) => {
                    told = false;
                    LOOK
                }
                Ok(Err(error)) => paused(&mut told, &format!("{error:#}")),
                Err(_) => paused(
                    &mut told,
                    &format!("it took longer than {} s", DEADLINE.as_secs()),
                ),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }))
}

/// Tells that a round failed; once is enough.
fn paused(told: &mut bool, error: &str) -> Duration {
    if !std::mem::replace(told, true) {
        tracing::warn!(
            error,
            "what is here of erased persons cannot be removed, trying again"
        );
    }
    RETRY
}

struct LocalErasure {
    app: App,
    mailer: Arc<dyn Mailer>,
    file: PathBuf,
    /// Everything is gone of everybody erased up to here.
    reached: i64,
}

impl LocalErasure {
    async fn round(&mut self) -> anyhow::Result<()> {
        let erased = erasure::after(&self.app.database, self.reached).await?;
        let Some(last) = erased.last().map(|erased| erased.position) else {
            return Ok(());
        };
        for erased in &erased {
            let removed = self.mailer.forget(erased.id).await?;
            if removed > 0 {
                tracing::info!(person = %erased.id, removed, "mails of an erased person were removed");
            }
            self.app.ports.aggregates.forget(&User::stream(erased.id));
        }
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || write(&file, last)).await??;
        self.reached = last;
        Ok(())
    }
}

/// How far the file says; 0 where there is none, or one that was cut off, for repeating is safe.
fn reached(file: &Path) -> anyhow::Result<i64> {
    match small_files::read_text(file, LARGEST) {
        Ok(text) => Ok(text.trim().parse().unwrap_or_default()),
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn write(file: &Path, reached: i64) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    let written = || -> std::io::Result<()> {
        let mut writing = std::fs::File::create(&fresh)?;
        writing.write_all(format!("{reached}\n").as_bytes())?;
        writing.sync_all()?;
        std::fs::rename(&fresh, file)
    };
    written().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::{reached, write};

    #[test]
    fn how_far_it_is_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("erased-up-to");
        assert_eq!(reached(&file).expect("readable"), 0);
        write(&file, 42).expect("written");
        assert_eq!(reached(&file).expect("readable"), 42);
        std::fs::write(&file, "4x").expect("written");
        assert_eq!(reached(&file).expect("readable"), 0);
    }
}
