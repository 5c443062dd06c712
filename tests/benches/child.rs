//! This program again, as a child: for figures of several processes, and of a process that does one thing.
//!
//! The rule: a child says `ready` on its standard output, waits for a line on its standard input, does its turn
//! and prints one line of JSON. It ends when that input is closed. A yardstick that is another program does the same.

use std::{io::Write as _, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// First argument of a child.
pub(crate) const FLAG: &str = "--child";
/// How long a child may take for anything that is asked of it.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A running child. It is killed when this is dropped.
pub(crate) struct Child {
    process: tokio::process::Child,
    asked: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts one that does `task`.
    pub(crate) fn start(task: &[&str]) -> Result<Self> {
        let task: Vec<&str> = std::iter::once(FLAG).chain(task.iter().copied()).collect();
        Self::of(&std::env::current_exe()?, &task)
    }

    /// Starts `program` with `arguments`.
    pub(crate) fn of(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let asked = process.stdin.take().context("the child's input")?;
        let said = process.stdout.take().context("the child's output")?;
        Ok(Self {
            process,
            asked,
            said: BufReader::new(said).lines(),
        })
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let line = self.line().await?;
        ensure!(line == "ready", "a child said {line:?}");
        Ok(())
    }

    /// Has it take its turn.
    pub(crate) async fn go(&mut self) -> Result<()> {
        self.ask("go").await
    }

    /// Has it take the turn that `line` describes.
    pub(crate) async fn ask(&mut self, line: &str) -> Result<()> {
        self.asked.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.asked.flush().await?)
    }

    /// What it says of its turn.
    pub(crate) async fn turn(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    /// Ready, one turn, the end.
    pub(crate) async fn report(mut self) -> Result<Value> {
        self.ready().await?;
        self.go().await?;
        let report = self.turn().await?;
        self.end().await?;
        Ok(report)
    }

    /// Lets it end.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.asked);
        let status = timeout(TIMEOUT, self.process.wait())
            .await
            .context("a child does not end")??;
        ensure!(status.success(), "a child ended with {status}");
        Ok(())
    }

    async fn line(&mut self) -> Result<String> {
        let line = timeout(TIMEOUT, self.said.next_line())
            .await
            .context("a child says nothing")??;
        line.context("a child has ended; what it said of the reason stands above")
    }
}

/// Runs in the child: takes a turn for each line of the standard input. Waiting for one blocks this thread alone.
pub(crate) async fn turns(mut turn: impl AsyncFnMut() -> Result<Value>) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lines() {
        let line = line?;
        ensure!(line == "go", "the parent said {line:?}");
        writeln!(out, "{}", turn().await?)?;
    }
    Ok(())
}

/// What the child with these arguments does.
pub(crate) async fn run(task: &[String]) -> Result<()> {
    match task.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["replay", url] => turns(async || crate::reads::replay(url).await).await,
        ["rebuild", url] => turns(async || crate::rebuild::child(url).await).await,
        ["appends", side, url, callers, millis] => {
            crate::processes::child(
                side,
                url,
                callers.parse()?,
                Duration::from_millis(millis.parse()?),
            )
            .await
        }
        _ => bail!("a child cannot do {task:?}"),
    }
}
