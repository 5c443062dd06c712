//! What it costs to refuse a document whose fragments multiply, before anything of it runs (GQ-6).
//!
//! The yardstick is parsing the same document, which has to be done for every one: who sends a bomb costs no more than
//! who sends a long question.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Result, ensure};
use api::graphql::guard::{Limits, RefusalCode, check_document};
use async_graphql::parser::parse_query;
use serde_json::{Value, json};

use crate::{
    numbers::{median, rounded},
    scale::Scale,
};

/// Spreads in each fragment, and fragments.
const BOMBS: [(usize, usize); 3] = [(2, 22), (10, 7), (20, 6)];
/// Documents in one turn.
const DOCUMENTS: u32 = 200;

/// Measures in this thread.
pub(crate) fn run(scale: Scale) -> Result<Value> {
    let mut rows = Vec::new();
    let (mut worst, mut slowest) = (0.0_f64, 0.0_f64);
    for (width, levels) in BOMBS {
        let document = bomb(width, levels);
        let (mut parsing, mut refusing) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds * 10 {
            let (parsed, refused) = turn(&document)?;
            parsing.push(parsed);
            refusing.push(refused);
        }
        let ratios = parsing
            .iter()
            .zip(&refusing)
            .map(|(parsed, refused)| refused / parsed);
        let ratio = median(ratios.collect());
        worst = worst.max(ratio);
        slowest = slowest.max(median(refusing.clone()));
        rows.push(json!({
            "what": format!("{levels} fragments of {width} spreads"),
            "refusing_us": rounded(median(refusing)),
            "against": "parsing the document",
            "parsing_us": rounded(median(parsing)),
            "ratio": rounded(ratio),
        }));
    }
    Ok(json!({
        "unit": "µs for a document",
        "worst_ratio": rounded(worst),
        "worst_ms": rounded(slowest / 1e3),
        "rows": rows,
    }))
}

/// `levels` fragments, each spreading the next one `width` times.
fn bomb(width: usize, levels: usize) -> String {
    let mut document = String::from("{ ...F0 }");
    for level in 0..levels {
        let spreads = format!("...F{} ", level + 1).repeat(width);
        // Writing to a string does not fail.
        let _ = write!(document, "fragment F{level} on Query {{ {spreads} }}");
    }
    document + &format!("fragment F{levels} on Query {{ a }}")
}

/// Microseconds to parse the document and to refuse it, each as the mean of a turn.
fn turn(document: &str) -> Result<(f64, f64)> {
    let limits = Limits::default();
    let begun = Instant::now();
    let mut parsed = Vec::new();
    for _ in 0..DOCUMENTS {
        parsed.push(parse_query(document)?);
    }
    let parsing = begun.elapsed();
    let begun = Instant::now();
    let mut refused = 0;
    for document in &parsed {
        let code = check_document(document, &limits).map_err(|refusal| refusal.code);
        refused += u32::from(code == Err(RefusalCode::QueryTooLarge));
    }
    let refusing = begun.elapsed();
    ensure!(refused == DOCUMENTS, "{refused} of {DOCUMENTS} were refused");
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / f64::from(DOCUMENTS);
    Ok((each(parsing), each(refusing)))
}
