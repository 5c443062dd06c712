//! Trains one job in the foreground: `cargo run -p ml --example train -- job.json < /dev/tty`.
//!
//! The messages for the parent go to the standard output; type `stop` for a checkpoint and the end. This is
//! the process that the worker starts (there, as a hidden command of the server's binary).

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(job) => ml::child::run(Path::new(&job)),
        None => {
            eprintln!("usage: train JOB_FILE");
            ExitCode::from(2)
        }
    }
}
