//! Self-test: whether a device computes what PyTorch, transformers and PEFT compute (WK-3), checked before jobs run on
//! it.

mod compare;
mod reference;

use std::{path::Path, time::Instant};

use serde::{Deserialize, Serialize};

pub use self::compare::{Comparison, MatmulPrecision, run};
use crate::{
    Differentiable,
    device::{self, Device},
    failure::Failure,
    panic_guard::run_guarded,
    spec::Precision,
};

/// Result of the self-test of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTestReport {
    /// The device.
    pub device: Device,
    /// All comparisons.
    pub comparisons: Vec<Comparison>,
    /// Duration; on a GPU it is mostly the compilation of kernels, the first time.
    pub seconds: f64,
}

impl SelfTestReport {
    /// Describes the comparisons that fail; `None` when all hold.
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

/// Compares the results of `device` with those of PyTorch and PEFT; `kernels` as in [`crate::job::JobFile::kernels`].
/// A process can check one GPU, and must not use it for anything else.
///
/// # Errors
/// When the comparison fails to run.
pub fn check(device: Device, kernels: Option<&Path>) -> Result<SelfTestReport, Failure> {
    let began = Instant::now();
    let kernels = kernels.map(Path::to_path_buf);
    let comparisons = run_guarded("self-test", move || match device {
        Device::Cpu => run::<Differentiable>(&burn_flex::FlexDevice, MatmulPrecision::F32, &[Precision::F32]),
        Device::Cuda { index } => on_cuda(index, kernels.as_deref()),
    })?;
    Ok(SelfTestReport {
        device,
        comparisons,
        seconds: began.elapsed().as_secs_f64(),
    })
}

#[cfg(feature = "cuda")]
fn on_cuda(index: u32, kernels: Option<&Path>) -> Result<Vec<Comparison>, Failure> {
    let (_, handle) = device::cuda::open(index, kernels)?;
    let precisions = [Precision::F32, Precision::Bf16];
    run::<device::cuda::DifferentiableCuda>(&handle, MatmulPrecision::Tf32, &precisions)
}

#[cfg(not(feature = "cuda"))]
fn on_cuda(index: u32, _: Option<&Path>) -> Result<Vec<Comparison>, Failure> {
    Err(device::not_built(Device::Cuda { index }))
}

#[cfg(test)]
mod tests {
    use super::{Comparison, SelfTestReport, check};
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
        let checked = SelfTestReport {
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
