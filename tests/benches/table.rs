//! The report for people, as Markdown tables.
//!
//! One rule: it shows what is in the JSON and computes nothing.

use std::fmt::Write;

use serde_json::Value;

/// Where rows are in the report, their title, and their columns: heading and where in the row.
type Table = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const TABLES: [Table; 21] = [
    (
        "/appends/rows",
        "Appends of one event per second",
        &[
            ("callers", "/callers"),
            ("group commit", "/group_commit/appends_per_s"),
            ("p99 ms", "/group_commit/p99_ms"),
            ("CPU µs", "/group_commit/cpu_us"),
            ("one transaction each", "/transaction_per_append/appends_per_s"),
            ("p99 ms", "/transaction_per_append/p99_ms"),
            ("CPU µs", "/transaction_per_append/cpu_us"),
            ("ratio", "/transaction_per_append/ratio"),
            ("cqrs-es", "/cqrs_es/appends_per_s"),
            ("p99 ms", "/cqrs_es/p99_ms"),
            ("CPU µs", "/cqrs_es/cpu_us"),
            ("ratio", "/cqrs_es/ratio"),
        ],
    ),
    (
        "/processes/rows",
        "Appends of one event per second, by several processes with 256 callers in all",
        &[
            ("processes", "/processes"),
            ("group commit", "/group_commit/appends_per_s"),
            ("p99 ms", "/group_commit/p99_ms"),
            ("CPU µs", "/group_commit/cpu_us"),
            ("one transaction each", "/transaction_per_append/appends_per_s"),
            ("p99 ms", "/transaction_per_append/p99_ms"),
            ("CPU µs", "/transaction_per_append/cpu_us"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/reads/rows",
        "Events read per second",
        &[
            ("way", "/what"),
            ("per second", "/events_per_s"),
            ("ratio to COPY", "/ratio"),
        ],
    ),
    (
        "/reads/memory/rows",
        "Memory of a process that replays the log, MiB",
        &[
            ("events", "/events"),
            ("per second", "/events_per_s"),
            ("before", "/before_mib"),
            ("highest", "/highest_mib"),
        ],
    ),
    (
        "/hot/rows",
        "A decision and its append, ms",
        &[
            ("events of the stream", "/events"),
            ("first", "/cold_ms"),
            ("then, p50", "/hot_p50_ms"),
            ("p99", "/hot_p99_ms"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/projections/rows",
        "Events folded into a read model per second",
        &[
            ("way", "/what"),
            ("per second", "/events_per_s"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/rebuild/rows",
        "All read models built anew from a mixed log",
        &[
            ("events", "/events"),
            ("rows", "/rows"),
            ("seconds", "/seconds"),
            ("events per second", "/events_per_s"),
            ("COPY of the log", "/copy_events_per_s"),
            ("ratio", "/ratio"),
            ("memory before, MiB", "/before_mib"),
            ("highest", "/highest_mib"),
        ],
    ),
    (
        "/integrity/rows",
        "Events proved per second",
        &[
            ("what", "/what"),
            ("per second", "/events_per_s"),
            ("ratio to fetch", "/ratio"),
        ],
    ),
    (
        "/integrity/cost/rows",
        "What being provable costs appends",
        &[
            ("callers", "/callers"),
            ("hashing, µs per event", "/chain_us_per_event"),
            ("per second without signer", "/without_signer_per_s"),
            ("with", "/with_signer_per_s"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/requests/rows",
        "Requests per second",
        &[
            ("connections", "/connections"),
            ("what", "/what"),
            ("per second", "/per_s"),
            ("ratio", "/ratio"),
            ("to", "/against"),
            ("p50 ms", "/p50_ms"),
            ("p99 ms", "/p99_ms"),
            ("CPU µs client", "/cpu_us/client"),
            ("server", "/cpu_us/server"),
            ("PostgreSQL", "/cpu_us/postgres"),
        ],
    ),
    (
        "/contention/rows",
        "Mutations over 64 connections",
        &[
            ("whose", "/what"),
            ("per second", "/per_s"),
            ("ratio", "/ratio"),
            ("p50 ms", "/p50_ms"),
            ("p99 ms", "/p99_ms"),
            ("UNAVAILABLE", "/unavailable"),
            ("me of another, p50 ms", "/me_p50_ms"),
            ("p95", "/me_p95_ms"),
        ],
    ),
    (
        "/feed/rows",
        "Mutation to subscriber",
        &[
            ("subscribers", "/subscribers"),
            ("p50 ms", "/p50_ms"),
            ("p99 ms", "/p99_ms"),
            ("answer p50 ms", "/answer_p50_ms"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/idle/rows",
        "A thousand idle connections",
        &[
            ("what", "/what"),
            ("connections", "/connections"),
            ("memory before, MiB", "/before_mib"),
            ("over that, MiB", "/mib"),
            ("KiB each", "/kib_each"),
            ("% of a core", "/percent"),
            ("% without them", "/alone_percent"),
        ],
    ),
    (
        "/crowd/rows",
        "A thousand connections that ask",
        &[
            ("what", "/what"),
            ("connections", "/connections"),
            ("per second", "/per_s"),
            ("connections by rate, ms", "/connections_by_rate_ms"),
            ("p50 ms", "/p50_ms"),
            ("p95 ms", "/p95_ms"),
            ("p99 ms", "/p99_ms"),
            ("ratio of p95", "/ratio"),
        ],
    ),
    (
        "/training/rows",
        "Training of the demo's model",
        &[
            ("threads", "/threads"),
            ("tokens/s", "/tokens_per_s"),
            ("with evaluation and checkpoint", "/overall_tokens_per_s"),
            ("ratio", "/ratio"),
            ("GFLOP/s", "/gflop_per_s"),
            ("memory MiB", "/memory_mib"),
        ],
    ),
    (
        "/reporting/rows",
        "Telling about a training, processor seconds in a second",
        &[
            ("% of the training", "/percent"),
            ("server", "/server"),
            ("PostgreSQL", "/postgres"),
            ("training", "/training"),
            ("steps/s", "/steps_per_second"),
        ],
    ),
    (
        "/start/rows",
        "anneal up",
        &[
            ("start", "/what"),
            ("ready s", "/ready_s"),
            ("slowest s", "/slowest_s"),
            ("PostgreSQL alone s", "/postgres_s"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/start/long/rows",
        "anneal up over a long log",
        &[
            ("start", "/what"),
            ("ready s", "/ready_s"),
            ("slowest s", "/slowest_s"),
            ("CPU s", "/cpu_s"),
            ("memory MiB", "/resident_mib"),
            ("PostgreSQL alone s", "/postgres_s"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/cancelling/rows",
        "Stopping a training",
        &[
            ("mutation", "/what"),
            ("answered ms", "/answered_ms"),
            ("gone ms", "/gone_ms"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/refusals/rows",
        "Refusing documents whose fragments multiply",
        &[
            ("document", "/what"),
            ("refusing µs", "/refusing_us"),
            ("parsing µs", "/parsing_us"),
            ("ratio", "/ratio"),
        ],
    ),
    (
        "/start/memory/rows",
        "Memory of anneal up, MiB",
        &[
            ("when", "/what"),
            ("anneal", "/resident_mib"),
            ("its PostgreSQL", "/below_mib"),
        ],
    ),
];

/// Prints `report` on standard error.
pub(crate) fn print(report: &Value) {
    eprintln!("\n{}", report["machine"]);
    for (rows, title, columns) in TABLES {
        if let Some(rows) = report.pointer(rows).and_then(Value::as_array) {
            eprintln!("\n{title}\n\n{}", table(rows, columns));
        }
    }
    eprintln!("all in {} s", report["seconds"]);
}

fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut out = String::new();
    line(&mut out, columns.iter().map(|(heading, _)| (*heading).to_owned()));
    line(&mut out, columns.iter().map(|_| "---".to_owned()));
    for row in rows {
        line(
            &mut out,
            columns
                .iter()
                .map(|(_, place)| row.pointer(place).map_or_else(String::new, text)),
        );
    }
    out
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}
