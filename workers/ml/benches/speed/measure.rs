//! Arguments, and what a process costs.

use std::error::Error;

/// The value of `--name`.
pub(crate) fn argument(name: &str) -> Result<String, String> {
    let mut arguments = std::env::args();
    arguments
        .by_ref()
        .find(|argument| argument == name)
        .and_then(|_| arguments.next())
        .ok_or_else(|| format!("{name} is missing; see workers/ml/benches/compare.py"))
}

/// The value of `--name` as a number.
pub(crate) fn number<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str) -> Result<T, String> {
    argument(name)?
        .parse()
        .map_err(|error| format!("{name}: {error}"))
}

/// A number of `/proc/self/status` in MiB: Linux says what a process took at most.
pub(crate) fn memory_mib(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("no such field of /proc/self/status")?;
    let kib: u64 = line
        .trim_start_matches(':')
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()?;
    Ok(kib / 1024)
}

/// Seconds that all threads have computed, in the kernel too, to a hundredth.
pub(crate) fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in brackets, may hold spaces; user and system time are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}
