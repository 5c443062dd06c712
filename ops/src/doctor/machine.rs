//! The machine: cores, memory, accelerators.

use std::path::Path;

use ml::device::DeviceReport;

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
    let Ok(text) = small_files::read_text(Path::new("/proc/meminfo"), 64 << 10) else {
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

/// Whether there is a GPU, and whether it can be used. `program` is asked: NVIDIA's libraries may crash it.
pub(super) async fn gpu(program: &Path) -> Check {
    match workers::registration::devices::survey(program).await {
        Ok(survey) => verdict(&survey, Path::new("/dev/nvidiactl").exists()),
        Err(reason) => Check::warn(
            "GPU",
            reason,
            "training runs on the processor; look at the NVIDIA driver (`nvidia-smi`)",
        ),
    }
}

/// `plugged`: the kernel knows an NVIDIA device.
fn verdict(survey: &DeviceReport, plugged: bool) -> Check {
    const NOT_BUILT: &str = "this build has no CUDA; training runs on the processor";
    match (&survey.cuda, survey.built_with_cuda) {
        (Ok(found), true) => {
            let names: Vec<&str> = found.devices.iter().map(|device| device.name.as_str()).collect();
            Check::ok("GPU", format!("{}, CUDA {}", names.join(", "), found.compiler))
        }
        (Ok(_), false) => Check::warn(
            "GPU",
            NOT_BUILT,
            "an NVIDIA device stays idle; build with --features cuda (workers/ml/GPU.md)",
        ),
        (Err(reason), true) => {
            Check::warn("GPU", format!("none: {reason}"), "training runs on the processor")
        }
        (Err(reason), false) if plugged => Check::warn(
            "GPU",
            NOT_BUILT,
            format!("there is an NVIDIA device, but {reason}"),
        ),
        (Err(_), false) => Check::ok("GPU", NOT_BUILT),
    }
}

#[cfg(test)]
mod tests {
    use ml::device::{CudaUnavailable, DeviceReport};

    use super::{kib, verdict};
    use crate::doctor::Verdict;

    /// WK-1
    #[test]
    fn a_device_that_cannot_be_used_is_said() {
        let none = |built_with_cuda| DeviceReport {
            cores: 2,
            built_with_cuda,
            cuda: Err(CudaUnavailable::Device),
        };
        assert_eq!(verdict(&none(false), false).verdict, Verdict::Ok);
        let idle = verdict(&none(false), true);
        assert_eq!(idle.verdict, Verdict::Warn);
        assert!(
            idle.advice
                .is_some_and(|advice| advice.contains("CUDA_VISIBLE_DEVICES"))
        );
        let missing = verdict(&none(true), false);
        assert_eq!(missing.verdict, Verdict::Warn);
        assert!(missing.found.contains("shows no device"));
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:        2000 kB\nMemAvailable:    1500 kB\n";
        assert_eq!(
            (kib(text, "MemAvailable:"), kib(text, "SwapFree:")),
            (Some(1_536_000), None)
        );
    }
}
