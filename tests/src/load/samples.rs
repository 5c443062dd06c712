//! What is sampled of the process, and what of it is not as it should be.
//!
//! One rule: growth is told by the second quarter of the time beside the last, so that caches have filled by then.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::harness::client::http;

/// Memory may be so many times as much at the end, or more by so many KiB.
const MEMORY_TIMES: f64 = 1.1;
const MEMORY_KIB: u64 = 32 << 10;
/// So many more open files.
const FILES: u64 = 32;
/// Read models and reactors may be so many events behind, in the middle of all samples.
const LAG: u64 = 1_000;
/// With fewer samples nothing can be said about growth.
const ENOUGH: usize = 8;

/// One look at the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    at: Duration,
    memory_kib: u64,
    files: u64,
    threads: u64,
    lag: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>6} s: {} MiB, {} files, {} threads, {} events behind",
            self.at.as_secs(),
            self.memory_kib >> 10,
            self.files,
            self.threads,
            self.lag
        )
    }
}

/// Looks at a process and at what it says of itself.
pub(super) struct Watch {
    process: u32,
    health: String,
    client: reqwest::Client,
}

impl Watch {
    /// Of the process that answers at `url`.
    ///
    /// # Errors
    /// When no client can be made.
    pub(super) fn new(process: u32, url: &str) -> Result<Self> {
        Ok(Self {
            process,
            health: format!("{url}/api/health"),
            client: http().build()?,
        })
    }

    /// What there is now, after `at`.
    ///
    /// # Errors
    /// When the process is gone or does not answer.
    pub(super) async fn look(&self, at: Duration) -> Result<Sample> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.with_context(|| format!("{name} is missing"))
        };
        Ok(Sample {
            at,
            memory_kib: number("VmRSS:")?,
            threads: number("Threads:")?,
            files: std::fs::read_dir(format!("/proc/{}/fd", self.process))?.count() as u64,
            lag: self.lag().await?.0,
        })
    }

    /// How far read models or the slowest reactor are behind, and how many effects are open.
    async fn lag(&self) -> Result<(u64, u64)> {
        let report: Value = self.client.get(&self.health).send().await?.json().await?;
        let of = |value: &Value| value.as_u64().with_context(|| format!("no number: {report}"));
        let (mut lag, mut open) = (of(&report["lagEvents"])?, 0);
        for reactor in report["reactors"].as_array().context("reactors are told")? {
            lag = lag.max(of(&reactor["lagEvents"])?);
            open += of(&reactor["dead"])?;
        }
        Ok((lag, open))
    }

    /// Waits until nothing is behind.
    ///
    /// # Errors
    /// When that takes longer than `limit`, or something was given up.
    pub(super) async fn settles(&self, limit: Duration) -> Result<()> {
        let settled = async {
            loop {
                match self.lag().await? {
                    (0, 0) => return anyhow::Ok(()),
                    (_, dead) if dead > 0 => bail!("{dead} effects were given up"),
                    _ => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            }
        };
        let settled = tokio::time::timeout(limit, settled).await;
        settled.context("read models or reactors stay behind")?
    }
}

/// All samples.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// What is not as it should be.
    pub(super) fn wrong(&self) -> Vec<String> {
        if self.0.len() < ENOUGH {
            return vec![format!("{} samples are too few to tell what grows", self.0.len())];
        }
        let quarter = self.0.len() / 4;
        let (early, late) = (&self.0[quarter..2 * quarter], &self.0[self.0.len() - quarter..]);
        let of =
            |samples: &[Sample], number: fn(&Sample) -> u64| middle(samples.iter().map(number).collect());
        let mut wrong = Vec::new();
        let (before, after) = (of(early, |one| one.memory_kib), of(late, |one| one.memory_kib));
        if after as f64 > before as f64 * MEMORY_TIMES && after - before > MEMORY_KIB {
            wrong.push(format!(
                "memory grew from {} to {} MiB",
                before >> 10,
                after >> 10
            ));
        }
        let (before, after) = (of(early, |one| one.files), of(late, |one| one.files));
        if after > before + FILES {
            wrong.push(format!("open files grew from {before} to {after}"));
        }
        let lag = of(&self.0, |one| one.lag);
        if lag > LAG {
            wrong.push(format!("read models or reactors were {lag} events behind"));
        }
        wrong
    }
}

fn middle(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Sample, Samples};

    fn samples(of: impl Fn(u64) -> Sample) -> Samples {
        Samples((0..40).map(of).collect())
    }

    fn sample(memory_mib: u64, files: u64, lag: u64) -> Sample {
        Sample {
            at: Duration::ZERO,
            memory_kib: memory_mib << 10,
            files,
            threads: 10,
            lag,
        }
    }

    #[test]
    fn what_fills_at_first_and_stays_is_no_growth() {
        let filled = samples(|at| sample(if at < 10 { 50 + 10 * at } else { 150 + at % 2 }, 40, at % 900));
        assert_eq!(filled.wrong(), Vec::<String>::new());
    }

    #[test]
    fn growth_and_lag_are_told() {
        let growing = samples(|at| sample(100 + 5 * at, 40 + 3 * at, 2_000));
        let wrong = growing.wrong();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(samples(|at| sample(100 + 5 * at, 40, 0)).wrong()[0].starts_with("memory grew from"));
        assert_eq!(Samples::default().wrong().len(), 1, "too few");
    }
}
