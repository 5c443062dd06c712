//! Which fields of which events are personal, and whose, as a table to be read by people:
//! `schema/personal-data.md` (AU-7).
//!
//! One rule: it is written from the declarations that the seal follows, so it cannot say anything else.

use std::fmt::Write as _;

use domain::{event_registry, personal::KindFields};

const INTRODUCTION: &str = "\
# Personal data in events

Generated from the source; `cargo xtask bless` writes it.

A personal field is sealed under the key of its person before it reaches the log, and reads as `[erased]` once
that key is destroyed. Besides, the metadata of every event may hold the caller's `address` and `user_agent`:
they are sealed as data of the user who acted, else of the user on whose behalf, else of the first user whom
an event of the same append is about; with none of these they stay plain. Why each field was judged as it was:
`ops/adr/0012-personal-data-sealed-in-the-log.md`.

| event | version | whose | personal | plain |
| --- | --- | --- | --- | --- |
";

/// The table.
pub(super) fn table() -> String {
    let mut out = String::from(INTRODUCTION);
    for fields in event_registry::declarations() {
        row(&mut out, fields);
    }
    out
}

fn row(out: &mut String, fields: &KindFields) {
    let list = |leaves: &[&str]| {
        let quoted: Vec<String> = leaves.iter().map(|leaf| format!("`{leaf}`")).collect();
        quoted.join(", ")
    };
    let line = format!(
        "| {} | {} | {} | {} | {} |",
        fields.kind,
        fields.version,
        fields.subject,
        list(fields.personal),
        list(fields.plain),
    );
    let _ = writeln!(out, "{line}");
}
