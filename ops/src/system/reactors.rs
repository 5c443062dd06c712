//! The reactors of this process.

use std::sync::Arc;

use api::app::App;
use domain::notifications::mail::Mailer;
use event_store::sealing::PersonKeys;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workers::reactors::{
    self,
    runner::{self, Parts, Settings},
};

use super::eraser::Eraser;

/// Runs every reactor of the system until `stop` is cancelled, once no other process does. To be called before anything is
/// served.
///
/// # Errors
/// When the log or the database fails.
pub(super) async fn start(
    app: &App,
    keys: Arc<PersonKeys>,
    mailer: Arc<dyn Mailer>,
    stop: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let reactors = reactors::all();
    runner::prepare(&app.database, app.ports.store.as_ref(), &reactors).await?;
    let parts = Parts {
        ports: app.ports.clone(),
        pool: app.database.clone(),
        keys: app.pepper.clone(),
        mailer,
        calls: Arc::new(Eraser::new(app.clone(), keys)),
        reactors,
        settings: Settings::default(),
    };
    Ok(runner::start(parts, stop))
}
