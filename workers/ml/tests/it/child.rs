//! The process that trains, and what it says (`examples/train.rs` is that process).

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use ml::{
    child::ORPHANED,
    failure::{Failure, FailureCode},
    job::JobFile,
    message::ChildMessage,
};

use crate::support::TestDir;

/// A child with its ends.
pub struct Training {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Training {
    pub fn start(dir: &TestDir, job: &JobFile) -> Self {
        let path = dir.path("job.json");
        fs::write(&path, serde_json::to_vec(job).expect("JSON")).expect("written");
        Self::of(path)
    }

    fn of(job: PathBuf) -> Self {
        // Cargo puts examples beside the folder of test binaries.
        let tests = std::env::current_exe().expect("a path");
        let program = tests.ancestors().nth(2).expect("a folder").join("examples/train");
        let mut process = Command::new(program)
            .arg(job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example is built with the tests");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("an output"));
        Self {
            process,
            input,
            output,
        }
    }

    /// The next message; `None` at the end.
    pub fn next(&mut self) -> Option<ChildMessage> {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("readable");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("a message"))
    }

    /// The most memory that it has had so far, in bytes; `None` when it is gone.
    pub fn peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    }

    fn rest(&mut self) -> Vec<ChildMessage> {
        std::iter::from_fn(|| self.next()).collect()
    }

    pub fn status(&mut self) -> Option<i32> {
        self.process.wait().expect("an end").code()
    }
}

/// A job that takes longer than any test waits.
fn endless(dir: &TestDir) -> JobFile {
    let mut job = dir.scratch("endless");
    job.spec.parameters.steps = 1_000_000;
    job.spec.parameters.evaluate_every = 0;
    job.spec.parameters.checkpoint_every = 1_000_000;
    job
}

/// JB-5
#[test]
fn a_job_speaks_in_lines_that_can_be_read_back_and_tells_each_step_once() {
    let dir = TestDir::new();
    let mut training = Training::start(&dir, &dir.scratch("one"));
    let messages = training.rest();
    assert_eq!(training.status(), Some(0));
    assert!(
        matches!(&messages[0], ChildMessage::Started { job_id, total_steps: 12, .. } if job_id == "test")
    );
    let mut steps = Vec::new();
    for message in &messages {
        match message {
            ChildMessage::Progress { points, step, .. } => {
                steps.extend(points.iter().map(|point| point.step));
                assert_eq!(steps.last(), Some(step));
            }
            ChildMessage::Checkpoint { step, dir, .. } => {
                assert!(
                    dir.join("manifest.json").exists() || *step == 4,
                    "only the first is removed"
                );
                assert_eq!(
                    steps.last(),
                    Some(step),
                    "the steps before a checkpoint are told before it"
                );
            }
            _ => {}
        }
    }
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());
    let Some(ChildMessage::Completed {
        artifact_dir,
        files,
        merged: None,
        metrics,
    }) = messages.last()
    else {
        panic!("{:?}", messages.last())
    };
    assert_eq!((metrics.steps, metrics.evaluation_loss.is_some()), (12, true));
    for file in files {
        assert_eq!(
            &ml::files::describe(&artifact_dir.join(&file.name)).expect("a file"),
            file
        );
    }
}

/// JB-3, JB-4
#[test]
fn asked_to_stop_a_job_leaves_a_checkpoint_from_which_it_can_go_on() {
    let dir = TestDir::new();
    let mut job = endless(&dir);
    let mut training = Training::start(&dir, &job);
    while !matches!(training.next().expect("a message"), ChildMessage::Progress { .. }) {}
    training
        .input
        .as_mut()
        .expect("an input")
        .write_all(b"stop\n")
        .expect("heard");
    let messages = training.rest();
    assert_eq!(training.status(), Some(0));
    let [
        ..,
        ChildMessage::Checkpoint {
            step,
            dir: checkpoint,
            ..
        },
        ChildMessage::Stopped { step: last },
    ] = &messages[..]
    else {
        panic!("{messages:?}")
    };
    assert_eq!(step, last);
    job.resume_from = Some(checkpoint.clone());
    let mut resumed = Training::start(&dir, &job);
    let first = resumed.next().expect("a message");
    assert!(
        matches!(first, ChildMessage::Started { resumed_step, .. } if resumed_step == *step),
        "{first:?}"
    );
    drop(resumed.input.take());
    resumed.rest();
    assert_eq!(resumed.status(), Some(ORPHANED));
}

/// JB-4
#[test]
fn a_job_whose_parent_is_gone_ends_at_once() {
    let dir = TestDir::new();
    let mut training = Training::start(&dir, &endless(&dir));
    training.next().expect("a message");
    let began = std::time::Instant::now();
    drop(training.input.take());
    assert_eq!(training.status(), Some(ORPHANED));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn a_job_that_cannot_be_done_says_why() {
    let dir = TestDir::new();
    let mut training = Training::of(dir.path("nowhere.json"));
    let messages = training.rest();
    assert_eq!(training.status(), Some(1));
    assert!(
        matches!(
            &messages[..],
            [ChildMessage::Failed {
                code: FailureCode::SpecInvalid,
                ..
            }]
        ),
        "{messages:?}"
    );
}

/// What the operating system says on a full disk is told as such.
#[test]
fn a_full_disk_is_told_by_its_code() {
    let mut full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a device that is always full");
    let error = full.write_all(b"x").expect_err("full");
    let failure = Failure::io(FailureCode::Internal, "write", &PathBuf::from("weights"), &error);
    assert_eq!(failure.code, FailureCode::DiskFull);
}

/// WK-1: on a machine without a GPU, and in a build without CUDA.
#[test]
fn a_device_that_is_not_there_is_a_message() {
    if std::path::Path::new("/dev/nvidiactl").exists() {
        return;
    }
    let dir = TestDir::new();
    let mut job = dir.scratch("work");
    job.device = ml::device::Device::Cuda { index: 0 };
    let mut training = Training::start(&dir, &job);
    let messages = training.rest();
    let [ChildMessage::Failed { code, message }] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    assert_eq!(*code, FailureCode::DeviceUnavailable);
    assert!(
        message.contains("CUDA") || message.contains("NVIDIA"),
        "{message}"
    );
}

/// A template that makes too much of one conversation within its instructions is refused by name, before the machine's
/// memory is gone.
#[test]
fn a_template_that_takes_too_much_memory_ends_the_job_by_name() {
    for source in [
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ ((messages[0].content,) * 90000000) | join('and again and again and again') | length }}",
    ] {
        let dir = TestDir::new();
        let mut job = dir.scratch("doubling");
        let chat =
            r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}"#;
        job.dataset_files = vec![dir.dataset("chat.jsonl", &format!("{chat}\n").repeat(50), "chat")];
        job.spec.objective.chat_template = ml::spec::ChatTemplate::Custom(source.to_owned());
        let mut training = Training::start(&dir, &job);
        let last = training.rest().pop();
        let Some(ChildMessage::Failed { code, message }) = last else {
            panic!("{source}: {last:?}")
        };
        assert_eq!(code, FailureCode::ChatTemplateInvalid, "{message}");
        assert!(message.contains("memory"), "{message}");
        assert_eq!(training.process.wait().expect("an end").code(), Some(1));
    }
}
