//! Presence of a worker: registration, heartbeat, drain requests and deregistration (WK-2).
//!
//! One rule: nothing of this keeps a worker from working. What cannot be written now is written later.

use std::{path::Path, time::Duration};

use domain::{
    aggregate::{Aggregate, decode},
    authz::Principal,
    event_store::{Filter, Metadata},
    execute::{Command, execute},
    id::WorkerId,
    jobs::{
        job::KindName,
        requirements::ENGINE,
        worker::{Declaration, EndWorker, RegisterWorker, Worker, WorkerEnd, WorkerEvent},
    },
};
use projections::feed::FeedSubscription;
use tokio_util::sync::CancellationToken;

use super::{devices::WorkerDevice, heartbeat};
use crate::settings::WorkerParts;

/// Beats per lease time.
const BEATS: u32 = 3;
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a worker with these settings declares about itself.
pub(crate) fn declaration(parts: &WorkerParts, worker: WorkerId) -> Declaration {
    let settings = &parts.settings;
    let host = host();
    let mut labels = settings.labels.clone();
    let WorkerDevice { device, memory_bytes } = settings.place;
    labels.insert(device.kind().to_owned());
    let imports = settings.kinds.contains(&KindName::Import);
    Declaration {
        worker,
        name: match imports {
            true => format!("{host}/import"),
            false => format!("{host}/{device}"),
        },
        kinds: settings.kinds.clone(),
        host,
        device: device.kind().to_owned(),
        memory_bytes: settings.memory_bytes.or(memory_bytes).or_else(memory),
        code_version: settings.code_version.clone(),
        engine: ENGINE,
        labels,
    }
}

/// See the module.
pub(crate) struct Presence {
    pub(crate) parts: WorkerParts,
    pub(crate) declaration: Declaration,
    /// Cancelled when it shall take no more jobs.
    pub(crate) drain: CancellationToken,
    /// Cancelled when it shall give the job back that it has.
    pub(crate) leave: CancellationToken,
}

impl Presence {
    /// Is there until `gone` is cancelled.
    pub(crate) async fn keep(&self, gone: &CancellationToken) {
        let filter = Filter {
            stream_prefixes: vec![Worker::stream(self.declaration.worker).to_string()],
            kind_prefixes: vec!["jobs.WorkerDrainRequested".to_owned()],
        };
        let feed = self.parts.feed.follow(self.parts.feed.head(), filter);
        tokio::select! {
            () = gone.cancelled() => {}
            () = self.beat() => {}
            () = self.listen(feed) => {}
        }
    }

    /// Says that it went. When that fails, its heartbeat runs out, and it is given up for lost in time.
    pub(crate) async fn end(&self, how: WorkerEnd) {
        let worker = self.declaration.worker;
        let farewell = async {
            self.run(&EndWorker { worker, how }).await?;
            heartbeat::end(&self.parts.pool, worker)
                .await
                .map_err(|error| error.to_string())
        };
        match tokio::time::timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%worker, error, "the end of a worker could not be recorded"),
            Err(_) => tracing::warn!(%worker, "recording the end of a worker timed out"),
        }
    }

    async fn beat(&self) {
        let (worker, time) = (self.declaration.worker, self.parts.settings.lease);
        let mut there = false;
        loop {
            if there {
                match heartbeat::beat(&self.parts.pool, worker, time).await {
                    Ok(known) => there = known,
                    Err(error) => tracing::warn!(%worker, %error, "a heartbeat failed, trying again"),
                }
            }
            if !there {
                match self.begin().await {
                    Ok(()) => there = true,
                    Err(error) => tracing::warn!(%worker, error, "a worker cannot register, trying again"),
                }
            }
            tokio::time::sleep(if there { time / BEATS } else { RETRY }).await;
        }
    }

    async fn begin(&self) -> Result<(), String> {
        self.run(&RegisterWorker(self.declaration.clone())).await?;
        heartbeat::begin(
            &self.parts.pool,
            self.declaration.worker,
            self.parts.settings.lease,
        )
        .await
        .map_err(|error| error.to_string())
    }

    async fn listen(&self, mut feed: FeedSubscription) {
        loop {
            match feed.next().await {
                Ok(event) => match decode::<WorkerEvent>(&event) {
                    Ok(WorkerEvent::DrainRequested { at_once, .. }) => self.go(at_once),
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "a worker event cannot be decoded"),
                },
                Err(error) => {
                    tracing::warn!(%error, "the events of a worker cannot be followed, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn go(&self, at_once: bool) {
        tracing::info!(worker = %self.declaration.worker, at_once, "the worker drains");
        self.drain.cancel();
        if at_once {
            self.leave.cancel();
        }
    }

    async fn run<C: Command<Refusal = domain::jobs::worker::WorkerRefusal>>(
        &self,
        command: &C,
    ) -> Result<(), String> {
        let principal = Principal::Worker(self.declaration.worker);
        let meta = Metadata {
            actor: principal.actor(),
            ..Metadata::default()
        };
        match execute(&self.parts.ports, &principal, &meta, command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What the kernel tells of itself is shorter, in bytes.
const LARGEST_REPORT: u64 = 64 << 10;

/// The name of this machine.
fn host() -> String {
    let name = small_files::read_text(Path::new("/proc/sys/kernel/hostname"), LARGEST_REPORT);
    let name = name.unwrap_or_default();
    match name.trim() {
        "" => "unknown host".to_owned(),
        name => name.chars().take(64).collect(),
    }
}

/// Bytes of memory of this machine; `None` where the system does not tell.
fn memory() -> Option<u64> {
    let text = small_files::read_text(Path::new("/proc/meminfo"), LARGEST_REPORT).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
