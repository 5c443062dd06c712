//! On what the workers of a process compute.
//!
//! One rule: a GPU is asked in a process of its own, which may crash or hang in NVIDIA's libraries; it is used
//! only after it has computed rightly there (WK-1). When nobody insisted on it, the processor does the work.

use std::{fmt, path::Path, process::Stdio, str::FromStr, time::Duration};

use ml::{
    device::{CudaDevice, Device, DeviceReport, HAS_CUDA, ParseDeviceError},
    self_test::SelfTestReport,
};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::child::environment::inherited;

/// How long the drivers may take to tell what there is.
const SURVEY: Duration = Duration::from_secs(60);
/// How long a self-test may take. The first one on a machine compiles its kernels.
const CHECK: Duration = Duration::from_secs(900);

/// Which devices workers use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSelection {
    /// On every GPU that computes rightly, else on the processor.
    #[default]
    Auto,
    /// On every GPU.
    Cuda,
    /// On this device alone.
    One(Device),
}

impl fmt::Display for DeviceSelection {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(to, "auto"),
            Self::Cuda => write!(to, "cuda"),
            Self::One(device) => write!(to, "{device}"),
        }
    }
}

impl FromStr for DeviceSelection {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda),
            device => device.parse().map(Self::One),
        }
    }
}

/// The device of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerDevice {
    /// The device.
    pub device: Device,
    /// Bytes of memory of a GPU; `None` for the processor, whose memory is the machine's.
    pub memory_bytes: Option<u64>,
}

/// The selected device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker.device is {selection}, but {reason}")]
pub struct DeviceUnusable {
    selection: DeviceSelection,
    reason: String,
}

/// The devices that match a selection, as the driver reports them; not yet checked.
#[derive(Clone, Debug)]
pub struct FoundDevices {
    selection: DeviceSelection,
    gpus: Vec<CudaDevice>,
}

/// The devices that match `selection`. `program` is asked with the verb `devices`, which takes no longer than the
/// driver does: a start that cannot succeed ends here, before anything else is begun.
///
/// # Errors
/// When a GPU is demanded and there is none, with what is missing.
pub async fn find(selection: DeviceSelection, program: &Path) -> Result<FoundDevices, DeviceUnusable> {
    let gpus = match selection {
        DeviceSelection::One(Device::Cpu) => Ok(Vec::new()),
        DeviceSelection::Auto if !HAS_CUDA => Ok(Vec::new()),
        DeviceSelection::Auto | DeviceSelection::Cuda | DeviceSelection::One(Device::Cuda { .. }) => {
            gpus(selection, program).await
        }
    };
    Ok(FoundDevices {
        selection,
        gpus: or_processor(selection, gpus)?,
    })
}

impl FoundDevices {
    /// The places to compute on: the devices found, each of which computes rightly, else the processor. `program`
    /// computes the check; `kernels` as in [`ml::job::JobFile::kernels`].
    ///
    /// # Errors
    /// When a GPU is demanded and computes wrongly.
    pub async fn checked(self, program: &Path, kernels: &Path) -> Result<Vec<WorkerDevice>, DeviceUnusable> {
        let mut places = or_processor(self.selection, checked(self.gpus, program, kernels).await)?;
        if places.is_empty() {
            places.push(WorkerDevice::default());
        }
        Ok(places)
    }
}

/// What was `found`; nothing, with a warning, where it cannot be had and nobody insisted on it.
fn or_processor<T>(
    selection: DeviceSelection,
    found: Result<Vec<T>, String>,
) -> Result<Vec<T>, DeviceUnusable> {
    match (found, selection) {
        (Ok(found), _) => Ok(found),
        (Err(reason), DeviceSelection::Auto) => {
            tracing::warn!(reason, "no GPU can be used; training runs on the processor");
            Ok(Vec::new())
        }
        (Err(reason), selection) => Err(DeviceUnusable { selection, reason }),
    }
}

/// What there is to compute on, as `program` tells with the verb `devices`.
///
/// # Errors
/// When it does not answer: NVIDIA's libraries hang, or crash.
pub async fn survey(program: &Path) -> Result<DeviceReport, String> {
    ask(program, &["devices", "--json"], SURVEY).await
}

async fn gpus(selection: DeviceSelection, program: &Path) -> Result<Vec<CudaDevice>, String> {
    if !HAS_CUDA {
        return Err(
            "this build has no CUDA; build it with --features cuda (workers/ml/GPU.md), or choose cpu"
                .to_owned(),
        );
    }
    let found = survey(program).await?;
    let mut devices = found.cuda.map_err(|error| error.to_string())?.devices;
    if let DeviceSelection::One(Device::Cuda { index }) = selection {
        devices.retain(|device| device.index == index);
        if devices.is_empty() {
            return Err("the driver shows no device of that number".to_owned());
        }
    }
    Ok(devices)
}

async fn checked(gpus: Vec<CudaDevice>, program: &Path, kernels: &Path) -> Result<Vec<WorkerDevice>, String> {
    let mut places = Vec::new();
    for found in gpus {
        let device = Device::Cuda { index: found.index };
        tracing::info!(%device, name = found.name, "checking what the GPU computes; the first time takes minutes");
        let (name, folder) = (device.to_string(), kernels.display().to_string());
        let arguments = ["devices", "--json", "--check", &name, "--kernels", &folder];
        let checked: SelfTestReport = ask(program, &arguments, CHECK).await?;
        match checked.problem() {
            None => places.push(WorkerDevice {
                device,
                memory_bytes: Some(found.memory_bytes),
            }),
            Some(problem) => return Err(format!("{device} computes wrongly: {problem}")),
        }
    }
    Ok(places)
}

/// What `program` answers, in JSON.
async fn ask<T: DeserializeOwned>(
    program: &Path,
    arguments: &[&str],
    timeout: Duration,
) -> Result<T, String> {
    let answer = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(inherited())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("the devices cannot be looked at: {error}")),
        Err(_) => {
            let seconds = timeout.as_secs();
            return Err(format!(
                "the NVIDIA driver did not answer within {seconds} seconds"
            ));
        }
    };
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it said nothing");
        format!("looking at the devices ended with {}: {last}", output.status)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ml::device::{Device, HAS_CUDA};

    use super::{DeviceSelection, WorkerDevice, find};

    #[test]
    fn a_wish_is_read_as_it_is_written() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:3"] {
            assert_eq!(
                text.parse::<DeviceSelection>()
                    .map(|selection| selection.to_string()),
                Ok(text.to_owned())
            );
        }
        assert!("gpu".parse::<DeviceSelection>().is_err());
    }

    /// WK-1: nothing is started to compute on the processor.
    #[tokio::test]
    async fn the_processor_needs_nobody_to_be_asked() {
        let nobody = Path::new("/no/such/program");
        for selection in [DeviceSelection::One(Device::Cpu), DeviceSelection::Auto] {
            let found = find(selection, nobody).await.expect("nothing to look for");
            let places = found.checked(nobody, nobody).await.expect("nothing to check");
            assert_eq!(places, [WorkerDevice::default()]);
        }
    }

    /// WK-1
    #[tokio::test]
    async fn a_gpu_that_is_demanded_and_not_there_is_a_message() {
        let nobody = Path::new("/no/such/program");
        let error = find(DeviceSelection::Cuda, nobody)
            .await
            .expect_err("none")
            .to_string();
        assert!(error.contains("worker.device is cuda"), "{error}");
        assert_eq!(error.contains("--features cuda"), !HAS_CUDA, "{error}");
    }
}
