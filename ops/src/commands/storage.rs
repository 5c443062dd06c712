//! `anneal storage`: the object store, for operators.

use std::{process::ExitCode, sync::Arc, time::Duration};

use domain::{
    audit::collection::CollectedObject,
    clock::{Clock as _, SystemClock},
    execute::Ports,
    id::SystemIds,
    rights::LogRights,
};
use event_store::postgres::app_pool;
use objects::Objects;

use super::database;
use crate::{
    collect::{self, Collection},
    config::Config,
    say,
    system::{existing_objects, open_log, opened},
};

/// Connections for the keys of persons.
const POOL: u32 = 2;
/// How long the log may take to close.
const CLOSE: Duration = Duration::from_secs(5);

/// Options of `anneal storage collect`.
#[derive(Clone, Copy, Debug)]
pub struct CollectOptions {
    /// Delete nothing.
    pub dry_run: bool,
    /// Hours since an object was last written, at least.
    pub older_than: u32,
    /// Answer in JSON.
    pub json: bool,
}

/// Deletes what no event refers to, or says what that is, whether the system is up or down.
///
/// # Errors
/// When the store, the database or the log fails; what was deleted until then is named in the log.
pub async fn collect(config: Config, options: CollectOptions) -> anyhow::Result<ExitCode> {
    let objects = existing_objects(&config).map_err(anyhow::Error::msg)?;
    let opened = database::open(&config).await?;
    let outcome = with_log(&config, &opened, &objects, options).await;
    opened.close().await?;
    let found = outcome?;
    match options.json {
        true => say!("{}", serde_json::to_string_pretty(&in_json(&found, options))?),
        false => print(&found, options),
    }
    Ok(ExitCode::SUCCESS)
}

async fn with_log(
    config: &Config,
    database: &database::Opened,
    objects: &Objects,
    options: CollectOptions,
) -> anyhow::Result<Collection> {
    if !options.dry_run {
        projections::database::migrate(&database.url).await?;
    }
    let clock = Arc::new(SystemClock);
    let store = open_log(&database.events, &database.url, clock.clone()).await?;
    let pool = app_pool(&database.url, POOL).await?;
    let work = async {
        let log = opened(store.clone(), pool.clone(), &config.general.data_dir).await?;
        let before = clock.now() - Duration::from_secs(u64::from(options.older_than) * 3600);
        let mut found = collect::look(objects, log.as_ref(), before).await?;
        if !options.dry_run {
            let ports = Ports::new(log, clock.clone(), Arc::new(SystemIds), Arc::new(LogRights));
            collect::delete(objects, &ports, &mut found).await?;
        }
        anyhow::Ok(found)
    };
    let outcome = work.await;
    pool.close().await;
    let closed = store.close(CLOSE).await;
    let found = outcome?;
    anyhow::ensure!(
        closed,
        "the log did not take what was recorded in time; run the same again"
    );
    Ok(found)
}

fn bytes(collected: &[CollectedObject]) -> u64 {
    collected.iter().map(|object| object.bytes).sum()
}

fn in_json(found: &Collection, options: CollectOptions) -> serde_json::Value {
    serde_json::json!({
        "dryRun": options.dry_run,
        "objects": found.objects,
        "collected": found.collected,
        "bytes": bytes(&found.collected),
        "young": found.young,
        "foreign": found.foreign,
        "changed": found.changed,
    })
}

fn print(found: &Collection, options: CollectOptions) {
    for object in &found.collected {
        say!(
            "{}  {} bytes, written {}",
            object.key,
            object.bytes,
            object.written
        );
    }
    for key in &found.foreign {
        say!("note    {key} is no object of Anneal's; it is left alone");
    }
    let (count, bytes) = (found.collected.len(), bytes(&found.collected));
    match options.dry_run {
        true => say!(
            "{count} of {} objects would be deleted: {bytes} bytes.",
            found.objects
        ),
        false => say!("{count} of {} objects deleted: {bytes} bytes.", found.objects),
    }
    if found.young > 0 {
        let hours = options.older_than;
        say!(
            "{} more that no event refers to are younger than {hours} hours.",
            found.young
        );
    }
    if found.changed > 0 {
        say!("{} changed meanwhile and were left.", found.changed);
    }
}
