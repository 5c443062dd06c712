//! What figures may not pass: the run fails when one does.
//!
//! The rule: a goal that is met stands here, so that it cannot be lost without notice; one that is missed may stand here
//! too, and fails the run until it is met. README.md says of each how far it is.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::scale::Scale;

/// Figure, value in it, the most that it may be, and in words.
type Goal = (&'static str, &'static str, f64, &'static str);

/// Held with `--quick` too: ratios of what is measured in turns, and counts.
const ALWAYS: [Goal; 3] = [
    (
        "contention",
        "/unavailable",
        0.0,
        "nobody is turned away because one owner has 64 connections (FL1)",
    ),
    (
        "contention",
        "/slowest",
        2.0,
        "64 connections of one owner get at least half of what 64 owners get (FL1)",
    ),
    (
        "contention",
        "/growth",
        1.25,
        "what an owner gets does not fall with the length of the history (FL1)",
    ),
];

const GOALS: [Goal; 19] = [
    (
        "requests",
        "/slower/scalar_query",
        2.0,
        "a scalar query has at least half the rate of a static route",
    ),
    (
        "requests",
        "/slower/one_row",
        4.0,
        "one row has at least a quarter of the rate of a static route",
    ),
    (
        "requests",
        "/slower/list_of_25",
        6.67,
        "a list of 25 with access checks has at least 0.15 of the rate of a static route",
    ),
    (
        "requests",
        "/slower/mutation",
        4.0,
        "whole mutations have at least a quarter of the rate of bare appends",
    ),
    (
        "idle",
        "/feeds_mib",
        95.3,
        "1,000 idle feeds hold at most 100 MB (FL11)",
    ),
    (
        "idle",
        "/feeds_percent",
        20.0,
        "1,000 idle feeds take less than 20 % of a core (FL11)",
    ),
    (
        "feed",
        "/rows/1/p99_ms",
        20.0,
        "an event reaches 50 subscribers within 20 ms of its mutation, 99 of 100 times",
    ),
    (
        "crowd",
        "/p95_ms",
        100.0,
        "of 1,000 connections that ask, 95 % are answered within 100 ms (FL11)",
    ),
    (
        "rebuild",
        "/rows/0/seconds",
        25.0,
        "1 million mixed events are rebuilt into all read models with their pasts in 25 s",
    ),
    (
        "rebuild",
        "/rows/0/highest_mib",
        300.0,
        "the process that rebuilds them takes at most 300 MiB",
    ),
    (
        "reporting",
        "/percent",
        1.0,
        "telling about a training takes at most 1 % of it (JB-5)",
    ),
    (
        "cancelling",
        "/cancelled_ms",
        1_000.0,
        "a cancelled training is gone within a second (JB-3)",
    ),
    (
        "cancelling",
        "/paused_ms",
        2_000.0,
        "a paused training has saved its state and is gone within two seconds (JB-3)",
    ),
    (
        "refusals",
        "/worst_ratio",
        1.0,
        "refusing a document whose fragments multiply takes at most as long as parsing it (GQ-6)",
    ),
    (
        "refusals",
        "/worst_ms",
        5.0,
        "a refused document costs under 5 ms (GQ-6)",
    ),
    (
        "logins",
        "/apart",
        1.1,
        "an account that does not exist answers as fast as one that does (SE-5)",
    ),
    (
        "logins",
        "/shed_ratio",
        0.01,
        "a login that is turned away takes at most a hundredth of one that is hashed (SE-4)",
    ),
    (
        "start",
        "/rows/2/ready_s",
        10.0,
        "after a crash it is ready within 10 s, the median of ten (E5)",
    ),
    (
        "start",
        "/long/ready_s",
        10.0,
        "a start over a long log is ready within 10 s, of 10 million events too",
    ),
];

/// Compares what was measured with the goals; with `--quick` only with those that hold in short turns too.
///
/// # Errors
/// With every goal that was missed, or that cannot be found in its figure.
pub(crate) fn held(report: &Value, scale: Scale) -> Result<()> {
    let measured = |(figure, ..): &&Goal| report.get(figure).is_some();
    let at_full_size = GOALS.iter().filter(|_| scale.judged);
    let missed: Vec<String> = ALWAYS
        .iter()
        .chain(at_full_size)
        .filter(measured)
        .filter_map(|goal| missed(report, goal))
        .collect();
    ensure!(missed.is_empty(), "goals are missed: {}", missed.join("; "));
    Ok(())
}

fn missed(report: &Value, (figure, place, most, words): &Goal) -> Option<String> {
    let found = report[figure].pointer(place).and_then(Value::as_f64);
    match found {
        Some(found) if found <= *most => None,
        Some(found) => Some(format!("{words}: {found} instead of {most}")),
        None => Some(format!("{words}: {figure} says nothing of it")),
    }
}
