//! What this process could compute on, and whether that computes rightly.

use std::{path::Path, time::Instant};

use serde::{Deserialize, Serialize};

use super::{
    CudaFound, Device, HAS_CUDA, NoCuda, probe,
    self_test::{self, Comparison, Multiplied},
};
use crate::{Differentiable, child::guarded, failure::Failure, spec::Precision};

/// What there is to compute on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Cores that the system gives this process.
    pub cores: usize,
    /// Whether this build can compute with CUDA.
    pub built_with_cuda: bool,
    /// What there is of CUDA on this machine.
    pub cuda: Result<CudaFound, NoCuda>,
}

/// Looks at the machine. See [`probe`] for the process to do that in.
#[must_use]
pub fn survey() -> Survey {
    Survey {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        built_with_cuda: HAS_CUDA,
        cuda: probe(),
    }
}

/// What the self-test of a device found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The device.
    pub device: Device,
    /// Everything that was compared.
    pub comparisons: Vec<Comparison>,
    /// How long it took; on a GPU mostly the compilation of kernels, the first time.
    pub seconds: f64,
}

impl Checked {
    /// The comparisons that do not hold, in words; `None` when all hold.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let told = |comparison: &Comparison| {
            let Comparison {
                what,
                difference,
                limit,
            } = comparison;
            format!("{what} differ by {difference:.1e} (at most {limit:.0e})")
        };
        let wrong: Vec<String> = self
            .comparisons
            .iter()
            .filter(|comparison| !comparison.holds())
            .map(told)
            .collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

/// Compares what `device` computes with what PyTorch and PEFT computed; `kernels` as in
/// [`crate::job::JobFile::kernels`]. A process can check one GPU, and uses it for nothing else.
///
/// # Errors
/// What kept it from comparing.
pub fn check(device: Device, kernels: Option<&Path>) -> Result<Checked, Failure> {
    let began = Instant::now();
    let kernels = kernels.map(Path::to_path_buf);
    let comparisons = guarded("self-test", move || match device {
        Device::Cpu => {
            self_test::run::<Differentiable>(&burn_flex::FlexDevice, Multiplied::Exactly, &[Precision::F32])
        }
        Device::Cuda { index } => on_cuda(index, kernels.as_deref()),
    })?;
    Ok(Checked {
        device,
        comparisons,
        seconds: began.elapsed().as_secs_f64(),
    })
}

#[cfg(feature = "cuda")]
fn on_cuda(index: u32, kernels: Option<&Path>) -> Result<Vec<Comparison>, Failure> {
    let (_, handle) = super::cuda::open(index, kernels)?;
    let precisions = [Precision::F32, Precision::Bf16];
    self_test::run::<super::cuda::DifferentiableCuda>(&handle, Multiplied::Tf32, &precisions)
}

#[cfg(not(feature = "cuda"))]
fn on_cuda(index: u32, _: Option<&Path>) -> Result<Vec<Comparison>, Failure> {
    Err(super::not_built(Device::Cuda { index }))
}

#[cfg(test)]
mod tests {
    use super::{Checked, Comparison, check};
    use crate::{device::Device, failure::FailureCode};

    /// WK-1
    #[test]
    fn the_processor_computes_rightly() {
        let checked = check(Device::Cpu, None).expect("checked");
        assert_eq!(checked.problem(), None);
    }

    /// WK-1
    #[test]
    fn a_gpu_that_is_not_there_is_a_message() {
        if std::path::Path::new("/dev/nvidiactl").exists() {
            return;
        }
        let failure = check(Device::Cuda { index: 0 }, None).expect_err("none");
        assert_eq!(failure.code, FailureCode::DeviceUnavailable);
    }

    #[test]
    fn what_differs_too_much_is_named() {
        let comparison = |what: &str, difference| Comparison {
            what: what.to_owned(),
            difference,
            limit: 0.001,
        };
        let checked = Checked {
            device: Device::Cpu,
            comparisons: vec![comparison("logits", 0.0001), comparison("gradients", 0.25)],
            seconds: 1.0,
        };
        assert_eq!(
            checked.problem().as_deref(),
            Some("gradients differ by 2.5e-1 (at most 1e-3)")
        );
    }
}
