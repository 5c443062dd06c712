//! The training process: reads a job file, trains, and reports to its parent.
//!
//! Protocol: `argv` names the job file; standard output carries [`crate::message::ChildMessage`] lines and nothing
//! else; standard error is for people. A line `stop` on standard input requests a checkpoint and a clean exit; end of
//! file there means that the parent is gone, and the process exits at once. The exit status is 0 after `completed` or
//! `stopped`, 1 after `failed`, and [`ORPHANED`] without a parent. An exit without one of those last lines is a
//! crash; signal 9 usually means that the system ran out of memory.
//!
//! The parent sets [`crate::job::JobFile::environment`] to limit the number of threads.
//!
//! Rule: a process runs one job, so a panic, an abort or a lack of memory affects no other job.

mod report;

use std::{
    io::BufRead,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{
    Differentiable,
    device::Device,
    failure::Failure,
    job::JobFile,
    message::ChildMessage,
    panic_guard::run_guarded,
    run::{self, Outcome},
};
use report::Reporter;

pub use self::report::ORPHANED;

/// Runs the job in the file at `job_path`; see the module for the protocol.
pub fn run(job_path: &Path) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    thread::spawn(move || listen(&heard));
    let path = job_path.to_path_buf();
    let result = run_guarded("training", move || work(&path, stop));
    match result {
        Ok(last) => {
            report::send(&last);
            ExitCode::SUCCESS
        }
        Err(Failure { code, message }) => {
            report::send(&ChildMessage::Failed { code, message });
            ExitCode::FAILURE
        }
    }
}

fn work(path: &Path, stop: Arc<AtomicBool>) -> Result<ChildMessage, Failure> {
    let job = JobFile::read(path)?;
    let (outcome, mut reporter) = match job.device {
        Device::Cpu => {
            let mut reporter = Reporter::new(&job, None, stop);
            let outcome = run::run::<Differentiable>(&job, &burn_flex::FlexDevice, &mut reporter)?;
            (outcome, reporter)
        }
        Device::Cuda { index } => with_cuda(&job, index, stop)?,
    };
    reporter.flush();
    Ok(match outcome {
        Outcome::Stopped { step } => ChildMessage::Stopped { step },
        Outcome::Completed(artifact) => {
            fail::fail_point!("trainer.result_written");
            reporter.completed(artifact)
        }
    })
}

#[cfg(feature = "cuda")]
fn with_cuda(job: &JobFile, index: u32, stop: Arc<AtomicBool>) -> Result<(Outcome, Reporter), Failure> {
    use crate::device::cuda;
    let (device, handle) = cuda::open(index, job.kernels.as_deref())?;
    let mut reporter = Reporter::new(job, Some(&device), stop);
    let outcome = run::run::<cuda::DifferentiableCuda>(job, &handle, &mut reporter)?;
    Ok((outcome, reporter))
}

#[cfg(not(feature = "cuda"))]
fn with_cuda(job: &JobFile, _: u32, _: Arc<AtomicBool>) -> Result<(Outcome, Reporter), Failure> {
    Err(crate::device::not_built(job.device))
}

/// Reads the parent's requests; exits when the parent is gone, because nobody needs the result any more.
fn listen(stop: &AtomicBool) {
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) if line.trim() == "stop" => stop.store(true, Ordering::Relaxed),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    std::process::exit(ORPHANED);
}
