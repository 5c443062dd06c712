//! How much memory processes hold.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::machine::field;

/// A process below another.
pub(crate) struct Process {
    /// Its number.
    pub(crate) id: u32,
    /// Its name, at most 15 characters.
    pub(crate) name: String,
}

impl Process {
    /// Where the system tells about it.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new("/proc").join(self.id.to_string())
    }
}

/// Resident memory of a process in MiB, shared pages included.
pub(crate) fn resident(process: u32) -> Result<f64> {
    mebibytes(&format!("/proc/{process}/status"), "VmRSS")
}

/// The most resident memory that a process ever had, in MiB, shared pages included.
pub(crate) fn highest(process: u32) -> Result<f64> {
    mebibytes(&format!("/proc/{process}/status"), "VmHWM")
}

/// Memory of everything that runs below `process` in MiB; pages that several share are counted once in all.
pub(crate) fn below(process: u32) -> Result<f64> {
    let sizes = descendants(process)?.into_iter().map(|process| {
        // It may have ended since it was listed.
        mebibytes(&process.folder().join("smaps_rollup").to_string_lossy(), "Pss").unwrap_or_default()
    });
    Ok(sizes.sum())
}

/// All processes below `ancestor`.
pub(crate) fn descendants(ancestor: u32) -> Result<Vec<Process>> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // proc(5): "id (name) state parent …", and the name may hold anything.
        let Some((_, rest)) = stat.split_once('(') else {
            continue;
        };
        let Some((name, rest)) = rest.rsplit_once(") ") else {
            continue;
        };
        let Some(parent) = rest.split(' ').nth(1).and_then(|parent| parent.parse().ok()) else {
            continue;
        };
        children.entry(parent).or_default().push(Process {
            id,
            name: name.to_owned(),
        });
    }
    let mut found = Vec::new();
    let mut open = vec![ancestor];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.id);
            found.push(child);
        }
    }
    Ok(found)
}

fn mebibytes(path: &str, name: &str) -> Result<f64> {
    let text = field(path, name)?;
    let kibibytes: f64 = text
        .trim_end_matches(" kB")
        .parse()
        .with_context(|| format!("{name} in {path}"))?;
    Ok(kibibytes / 1024.0)
}
