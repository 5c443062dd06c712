//! `anneal devices`: what trainings can be computed on (WK-1).
//!
//! Workers ask this verb in a process of its own, because NVIDIA's libraries may crash it.

use std::{io::Write, path::Path, process::ExitCode};

use ml::{
    device::{Device, DeviceReport, HAS_CUDA},
    self_test::SelfTestReport,
};

use crate::output::Answer;

/// Shows what there is, or checks one device. The exit code is 1 when that one computes wrongly.
pub(super) fn run(check: Option<Device>, kernels: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = Answer;
    let Some(device) = check else {
        let survey = ml::device::survey();
        match json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&survey)?)?,
            false => show(&survey, &mut out)?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let checked = ml::self_test::check(device, kernels)?;
    match json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&checked)?)?,
        false => show_checked(&checked, &mut out)?,
    }
    Ok(match checked.problem() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

fn show(survey: &DeviceReport, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "cpu     {} cores", survey.cores)?;
    match &survey.cuda {
        Err(reason) => writeln!(out, "cuda    none: {reason}")?,
        Ok(found) => {
            for device in &found.devices {
                let gib = device.memory_bytes as f64 / f64::from(1 << 30);
                writeln!(
                    out,
                    "cuda:{}  {}, {gib:.1} GiB, compute capability {}",
                    device.index, device.name, device.capability
                )?;
            }
            writeln!(
                out,
                "        driver for CUDA {}, runtime compiler of CUDA {}",
                found.driver, found.compiler
            )?;
        }
    }
    if !HAS_CUDA {
        writeln!(
            out,
            "        this build has no CUDA; for GPUs build it with --features cuda (workers/ml/GPU.md)"
        )?;
    }
    Ok(())
}

fn show_checked(checked: &SelfTestReport, out: &mut impl Write) -> std::io::Result<()> {
    for comparison in &checked.comparisons {
        let mark = if comparison.holds() { "ok  " } else { "FAIL" };
        writeln!(
            out,
            "{mark}  {:<44} differs by {:.1e}, at most {:.0e}",
            comparison.what, comparison.difference, comparison.limit
        )?;
    }
    let verdict = match checked.problem() {
        None => "computes rightly",
        Some(_) => "computes wrongly and is not used",
    };
    writeln!(out, "{} {verdict} ({:.1} s)", checked.device, checked.seconds)
}
