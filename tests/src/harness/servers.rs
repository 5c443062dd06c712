//! Several processes of the real binary on one database: an API server, and workers that may be killed.
//!
//! The rule: each has a data folder of its own, as on several machines; they share the database, the object store and
//! the keys.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{app::program, folders::copy, processes::children};

/// How long a start may take on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// How long an end may take.
const END: Duration = Duration::from_secs(60);

/// `anneal up` on `data` with the database at `url` and these settings.
fn up(data: &Path, url: &str, settings: &[String]) -> Result<Command> {
    let said = data.with_extension("log");
    let said = OpenOptions::new().append(true).create(true).open(&said);
    let mut command = Command::new(program());
    command
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data);
    for setting in [
        "worker.lease_seconds=3",
        "log.level=warn",
        "auth.access_token_minutes=120",
    ]
    .into_iter()
    .chain(settings.iter().map(String::as_str))
    {
        command.args(["--set", setting]);
    }
    command
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said.context("no file for what the server says")?);
    Ok(command)
}

fn pid(process: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(
        i32::try_from(process.id()).context("a process id")?,
    ))
}

fn send(process: Pid, signal: Signal) -> Result<()> {
    match kill(process, signal) {
        // It may be gone already.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn ended(process: &mut Child) -> Result<()> {
    let began = Instant::now();
    while process.try_wait()?.is_none() {
        ensure!(began.elapsed() < END, "a process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The process that answers.
pub struct ApiProcess {
    process: Child,
    /// Its data folder.
    pub data: PathBuf,
    /// Where it answers.
    pub url: String,
}

impl ApiProcess {
    /// Starts it in `room` on the database at `url`, and waits until it listens.
    ///
    /// # Errors
    /// What it said, when it does not.
    pub async fn start(room: &Path, url: &str, settings: &[String]) -> Result<Self> {
        let data = room.join("door");
        let mut process = up(&data, url, settings)?
            .spawn()
            .with_context(|| format!("{} is not built", program().display()))?;
        let output = process.stdout.take().context("it has an output")?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = line.trim().strip_prefix("GraphQL ")
                    && let Some(sender) = sender.take()
                {
                    drop(sender.send(url.trim().trim_end_matches("/graphql").to_owned()));
                }
            }
        });
        match tokio::time::timeout(READY, receiver).await {
            Ok(Ok(url)) => Ok(Self { process, data, url }),
            _ => {
                send(pid(&process)?, Signal::SIGKILL)?;
                let said = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
                bail!("the server does not start: {said}")
            }
        }
    }

    /// Its number in the system.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// As Ctrl-C ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        send(pid(&self.process)?, Signal::SIGINT)?;
        ended(&mut self.process)
    }
}

impl Drop for ApiProcess {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The process that trains, by processes of its own.
pub struct WorkerProcess {
    process: Option<Child>,
    data: PathBuf,
    url: String,
    settings: Vec<String>,
}

impl WorkerProcess {
    /// One in `room` beside the door whose data folder is `api`, which has started, on the same database.
    ///
    /// # Errors
    /// When the API process's keys cannot be copied.
    pub fn beside(api: &Path, room: &Path, url: &str) -> Result<Self> {
        let data = room.join("worker");
        copy(&api.join("keys"), &data.join("keys")).context("the keys are not copied")?;
        let objects = api.join("objects");
        Ok(Self {
            process: None,
            data,
            url: url.to_owned(),
            settings: vec![
                "worker.count=1".to_owned(),
                "audit.sign=false".to_owned(),
                format!("objects.url=file://{}", objects.display()),
            ],
        })
    }

    /// The same with one more setting, from the next start on.
    #[must_use]
    pub fn with(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// The same with these settings of the object store in place of the API process's folder, unless there are none.
    #[must_use]
    pub fn in_store(mut self, settings: &[String]) -> Self {
        if !settings.is_empty() {
            self.settings
                .retain(|setting| !setting.starts_with("objects.url="));
            self.settings.extend_from_slice(settings);
        }
        self
    }

    /// Starts it, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let mut command = up(&self.data, &self.url, &self.settings)?;
        self.process = Some(
            command
                .stdout(Stdio::null())
                .spawn()
                .context("the worker does not start")?,
        );
        Ok(())
    }

    /// Kills it and what it has training, as a power cut would; how many trainings those were.
    ///
    /// # Errors
    /// What it said, when it had ended by itself.
    pub fn kill(&mut self) -> Result<usize> {
        let mut process = self.process.take().context("no worker is there")?;
        if let Some(status) = process.try_wait()? {
            let said = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
            bail!("the worker ended by itself with {status}: {said}");
        }
        let worker = pid(&process)?;
        let trainers = children(worker.as_raw(), "anneal");
        send(worker, Signal::SIGKILL)?;
        for trainer in &trainers {
            send(Pid::from_raw(*trainer), Signal::SIGKILL)?;
        }
        ended(&mut process)?;
        Ok(trainers.len())
    }

    /// The processes that train for it.
    ///
    /// # Errors
    /// When it was killed.
    pub fn trainers(&self) -> Result<Vec<i32>> {
        let process = self.process.as_ref().context("no worker is there")?;
        Ok(children(pid(process)?.as_raw(), "anneal"))
    }

    /// The most memory that it has had resident, in bytes.
    ///
    /// # Errors
    /// When it was killed.
    pub fn peak_memory(&self) -> Result<u64> {
        let process = self.process.as_ref().context("no worker is there")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix("kB"));
        let kilobytes: u64 = peak.context("no VmHWM")?.trim().parse()?;
        Ok(kilobytes << 10)
    }

    /// Sends `signal` to it and to what it has training.
    ///
    /// # Errors
    /// When it was killed.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("no worker is there")?;
        for trainer in self.trainers()? {
            send(Pid::from_raw(trainer), signal)?;
        }
        send(pid(process)?, signal)
    }

    /// As Ctrl-C ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("no worker is there")?;
        send(pid(&process)?, Signal::SIGINT)?;
        ended(&mut process)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
