//! Memory of this process and of the system, as Linux reports it.

use std::path::Path;

/// Maximum size of such a file in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Resident memory of this process in bytes; `None` where the system does not report it.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    bytes("/proc/self/status", "VmRSS:")
}

/// Bytes that the system can give to processes without swapping; `None` where it does not report it.
#[must_use]
pub fn system_available_bytes() -> Option<u64> {
    bytes("/proc/meminfo", "MemAvailable:")
}

fn bytes(file: &str, field: &str) -> Option<u64> {
    let text = small_files::read_text(Path::new(file), MAX_BYTES).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kibibytes * 1024)
}
