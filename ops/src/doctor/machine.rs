//! The machine: cores, memory, accelerators.

use super::Check;

/// Memory that a small training and the database need together, in bytes.
const NEEDED: u64 = 2 << 30;

/// How many cores there are.
pub(super) fn processor() -> Check {
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => Check::ok("processor", format!("{cores} cores")),
        Ok(_) => Check::warn(
            "processor",
            "1 core",
            "training and answering share it; give the machine a second one",
        ),
        Err(error) => Check::warn(
            "processor",
            format!("unknown: {error}"),
            "set worker.threads by hand",
        ),
    }
}

/// How much memory is free, where the system tells.
pub(super) fn memory() -> Check {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return Check::ok("memory", "not told by this system");
    };
    match (kib(&text, "MemAvailable:"), kib(&text, "MemTotal:")) {
        (Some(free), Some(all)) => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let found = format!("{:.1} of {:.1} GiB available", gib(free), gib(all));
            match free >= NEEDED {
                true => Check::ok("memory", found),
                false => Check::warn(
                    "memory",
                    found,
                    "2 GiB are advised; end other programs, or train smaller models",
                ),
            }
        }
        _ => Check::ok("memory", "not told by this system"),
    }
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Whether there is an accelerator, and whether it can be used.
pub(super) fn gpu() -> Check {
    const FOUND: &str = "this build has no CUDA; training runs on the processor";
    match std::path::Path::new("/dev/nvidiactl").exists() {
        true => Check::warn("GPU", FOUND, "there is an NVIDIA device, which stays idle"),
        false => Check::ok("GPU", FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::kib;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:        2000 kB\nMemAvailable:    1500 kB\n";
        assert_eq!(
            (kib(text, "MemAvailable:"), kib(text, "SwapFree:")),
            (Some(1_536_000), None)
        );
    }
}
