//! The bytes of a download, for as long as the caller may have them (PR-5).
//!
//! One rule: a download that began is decided again every second. When the grant is revoked or over, the session ended, or
//! the account switched off, the response breaks off, so that nobody takes a part for the whole.

use std::{io, time::Duration};

use axum::body::Bytes;
use domain::{audit::sensitive_read::Again, execute::Command};
use futures::{Stream, StreamExt as _, stream};
use tokio::time::Instant;

use super::run;
use crate::app::{App, Caller};

/// Time between two decisions.
const INTERVAL: Duration = Duration::from_secs(1);

struct Guarded<S, C> {
    bytes: S,
    app: App,
    caller: Caller,
    command: C,
    decided: Instant,
}

impl<S, C: Command> Guarded<S, C> {
    /// Decides again when it is time.
    async fn check(&mut self) -> io::Result<()> {
        if self.decided.elapsed() < INTERVAL {
            return Ok(());
        }
        self.decided = Instant::now();
        let permitted = run(&self.app, &self.caller, &Again(&self.command)).await;
        permitted
            .map(|_| ())
            .map_err(|_| io::Error::other("the access to this download has ended"))
    }
}

/// `bytes`, decided by `command` again and again.
pub(super) fn while_permitted<S, C>(
    bytes: S,
    app: App,
    caller: Caller,
    command: C,
) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
    C: Command,
{
    let guarded = Guarded {
        bytes,
        app,
        caller,
        command,
        decided: Instant::now(),
    };
    stream::try_unfold(guarded, |mut guarded| async move {
        let Some(piece) = guarded.bytes.next().await.transpose()? else {
            return Ok(None);
        };
        guarded.check().await?;
        Ok(Some((piece, guarded)))
    })
}
