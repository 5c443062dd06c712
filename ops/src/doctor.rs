//! `anneal doctor`: looks at everything that Anneal stands on, and says what to do (OP-4).
//!
//! One rule: it only looks. What it writes to see whether it can, it removes again; it starts nothing, and
//! a running system does not notice it.

mod database;
mod keys;
mod machine;
mod network;
mod storage;

use std::{io::Write, process::ExitCode};

use serde::Serialize;

use crate::{config::Config, output::Answer};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a reservation.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; `None` when there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Warn,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Fail,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of Anneal.
    pub version: &'static str,
    /// The worst verdict of all checks.
    pub verdict: Verdict,
    /// The checks, in the order in which things need each other.
    pub checks: Vec<Check>,
}

/// Looks at everything.
pub async fn examine(config: &Config) -> Report {
    let mut checks = vec![Check::ok(
        "configuration",
        "every key is known and every value is good",
    )];
    checks.extend([machine::processor(), machine::memory()]);
    checks.push(match std::env::current_exe() {
        Ok(program) => machine::gpu(&program).await,
        Err(error) => Check::warn(
            "GPU",
            format!("unknown: {error}"),
            "start Anneal by its full path",
        ),
    });
    checks.extend(storage::data_folder(&config.general.data_dir));
    checks.push(storage::objects(config).await);
    checks.extend(storage::checkpoints(config));
    checks.extend(storage::models(config));
    let (listening, health) = network::address(config.http.address).await;
    checks.push(listening);
    checks.extend(storage::lost_database(config));
    checks.extend(database::all(config, health.as_ref()).await);
    checks.extend(storage::exported_checkpoints(config));
    checks.push(keys::keys(config).await);
    let verdict = checks
        .iter()
        .map(|check| check.verdict)
        .max()
        .unwrap_or(Verdict::Ok);
    Report {
        version: env!("CARGO_PKG_VERSION"),
        verdict,
        checks,
    }
}

/// Looks at everything and prints what was found, for people or as JSON. The exit code is 1 when something
/// does not work, else 0.
///
/// # Errors
/// When standard output is gone.
pub async fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let report = examine(config).await;
    let mut out = Answer;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        for check in &report.checks {
            let mark = match check.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            writeln!(out, "{mark}  {:<14} {}", check.name, check.found)?;
            if let Some(advice) = &check.advice {
                writeln!(out, "      {:<14} → {advice}", "")?;
            }
        }
    }
    out.flush()?;
    Ok(if report.verdict == Verdict::Fail {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[cfg(test)]
mod tests {
    use super::{Verdict, examine};
    use crate::config::{Config, Sources};

    fn config(folder: &std::path::Path, extra: &[(&str, String)]) -> Config {
        let mut flags = vec![
            ("data_dir".to_owned(), folder.display().to_string()),
            ("http.address".to_owned(), "127.0.0.1:0".to_owned()),
        ];
        flags.extend(
            extra
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone())),
        );
        Config::load(&Sources {
            file: None,
            environment: Vec::new(),
            flags,
            ..Sources::default()
        })
        .expect("a good configuration")
    }

    /// OP-4
    #[tokio::test]
    async fn a_missing_data_folder_is_not_made_by_looking() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().join("data");
        let report = examine(&config(&folder, &[])).await;
        assert!(!folder.exists());
        let found = report
            .checks
            .iter()
            .find(|check| check.name == "data folder")
            .expect("it is looked at");
        assert_eq!(found.verdict, Verdict::Ok, "{found:?}");
    }

    /// OP-4
    #[tokio::test]
    async fn a_port_that_something_else_holds_is_a_failure_with_advice() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = other.local_addr().expect("bound").to_string();
        let report = examine(&config(temporary.path(), &[("http.address", address.clone())])).await;
        let found = report
            .checks
            .iter()
            .find(|check| check.name == "address")
            .expect("it is looked at");
        assert_eq!((found.verdict, report.verdict), (Verdict::Fail, Verdict::Fail));
        assert!(
            found
                .advice
                .as_ref()
                .is_some_and(|advice| advice.contains("--listen")),
            "{found:?}"
        );
    }
}
