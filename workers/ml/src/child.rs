//! The process that trains: reads a job file, trains, tells its parent.
//!
//! Protocol: `argv` names the job file; standard output carries [`crate::message::ChildMessage`] lines and
//! nothing else; standard error is for people. On standard input a line `stop` asks for a checkpoint and the
//! end; its end of file means that the parent is gone, and the process ends at once. Exit status 0 after
//! `completed` or `stopped`, 1 after `failed`, [`ORPHANED`] without parent. A status without such a last line
//! is a crash (a signal 9 usually means that the system ran out of memory).
//!
//! The parent sets [`crate::job::JobFile::environment`] to limit threads.
//!
//! Rule: a process does one job, so that no panic, abort or lack of memory of one touches another.

mod guard;
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
    training::{self, Outcome},
};
pub(crate) use guard::guarded;
use report::Reporter;

/// Exit status of a child whose parent is gone.
pub const ORPHANED: i32 = 3;

/// Does the job described by the file at `job_path`; see the module for the protocol.
pub fn run(job_path: &Path) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    thread::spawn(move || listen(&heard));
    let path = job_path.to_path_buf();
    let result = guarded("training", move || work(&path, stop));
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
            let outcome = training::run::<Differentiable>(&job, &burn_flex::FlexDevice, &mut reporter)?;
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
    let outcome = training::run::<cuda::DifferentiableCuda>(job, &handle, &mut reporter)?;
    Ok((outcome, reporter))
}

#[cfg(not(feature = "cuda"))]
fn with_cuda(job: &JobFile, _: u32, _: Arc<AtomicBool>) -> Result<(Outcome, Reporter), Failure> {
    Err(crate::device::not_built(job.device))
}

/// Waits for the parent's word. Without a parent nobody wants the result: the process ends here.
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
