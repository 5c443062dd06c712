//! Who used the processor: the client, the application, or its PostgreSQL.
//!
//! They share the machine, and the first two share the process; threads are told apart by their names.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{SERVER, memory::descendants, numbers::rounded};

/// Processor time used so far.
#[derive(Clone, Default)]
pub(crate) struct Cpu {
    client: Duration,
    server: Duration,
    /// By process: they come and go with their connections.
    postgres: HashMap<u32, Duration>,
}

impl Cpu {
    /// The time used up to now by this process and its PostgreSQL.
    pub(crate) fn now() -> Result<Self> {
        let mut cpu = Self::default();
        for thread in std::fs::read_dir("/proc/self/task")? {
            let folder = thread?.path();
            // A thread may end while we look.
            let (Ok(name), Ok(used)) = (std::fs::read_to_string(folder.join("comm")), used(&folder)) else {
                continue;
            };
            let side = if name.trim() == SERVER {
                &mut cpu.server
            } else {
                &mut cpu.client
            };
            *side += used;
        }
        let processes = descendants(std::process::id())?
            .into_iter()
            .filter(|process| process.name == "postgres");
        cpu.postgres = processes
            .filter_map(|process| Some((process.id, used(&process.folder()).ok()?)))
            .collect();
        Ok(cpu)
    }

    /// What was used since `earlier`, in microseconds for each of `requests`.
    pub(crate) fn per_request(&self, earlier: &Self, requests: usize) -> [f64; 3] {
        let postgres = self.postgres.iter().map(|(process, used)| {
            used.saturating_sub(earlier.postgres.get(process).copied().unwrap_or_default())
        });
        let each = |used: Duration| used.as_secs_f64() * 1e6 / requests.max(1) as f64;
        [
            each(self.client.saturating_sub(earlier.client)),
            each(self.server.saturating_sub(earlier.server)),
            each(postgres.sum()),
        ]
    }
}

/// Names for the numbers of [`Cpu::per_request`].
pub(crate) fn named([client, server, postgres]: [f64; 3]) -> Value {
    json!({ "client": rounded(client), "server": rounded(server), "postgres": rounded(postgres) })
}

/// Seconds that all threads of a process were on the processor.
pub(crate) fn of_process(process: u32) -> Result<f64> {
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while we look.
        sum += used(&thread?.path()).unwrap_or_default();
    }
    Ok(sum.as_secs_f64())
}

/// Time on the processor, from the scheduler (`schedstat`: nanoseconds run, nanoseconds waited, turns).
fn used(folder: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(folder.join("schedstat"))?;
    let nanoseconds = text.split(' ').next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
