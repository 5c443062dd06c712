//! What was measured on, and when.

use std::{io::Write, time::Instant};

use anyhow::{Context, Result};
use domain::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::{
    PLACE,
    numbers::{median, milliseconds, rounded},
};

/// Flushes to learn from.
const FLUSHES: usize = 50;

/// The machine, the moment and the version. `load_before` says how busy the machine was with other things.
pub(crate) fn describe() -> Result<Value> {
    let cores = std::thread::available_parallelism()?.get();
    let cpu = field("/proc/cpuinfo", "model name")?;
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: f64 = memory.trim_end_matches(" kB").parse().context("MemTotal")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(json!({
        "cores": cores,
        "cpu": cpu,
        "memory_gib": (kibibytes / 1024.0 / 1024.0).round(),
        "flush_ms": rounded(flush()?),
        "load_before": load.split(' ').next().unwrap_or_default(),
        "at": SystemClock.now().format(&Rfc3339)?,
        "version": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
    }))
}

/// Milliseconds that writing a page and flushing it to where the databases are takes, the middle of many.
fn flush() -> Result<f64> {
    let mut file = tempfile::tempfile_in(std::env::var_os(PLACE).context("where databases are")?)?;
    let mut times = Vec::new();
    for _ in 0..FLUSHES {
        let begun = Instant::now();
        file.write_all(&[1; 8192])?;
        file.sync_data()?;
        times.push(milliseconds(begun.elapsed()));
    }
    Ok(median(times))
}

/// The first value of `name` in a file of `name: value` lines.
pub(crate) fn field(path: &str, name: &str) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let value = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name);
    let (_, value) = value.with_context(|| format!("{path} has no {name}"))?;
    Ok(value.trim().to_owned())
}
