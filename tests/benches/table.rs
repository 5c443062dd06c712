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

const TABLES: [Table; 6] = [
    (
        "/appends/rows",
        "Appends of one event per second",
        &[
            ("callers", "/callers"),
            ("group commit", "/group_commit/appends_per_s"),
            ("p99 ms", "/group_commit/p99_ms"),
            ("one transaction each", "/transaction_per_append/appends_per_s"),
            ("p99 ms", "/transaction_per_append/p99_ms"),
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
