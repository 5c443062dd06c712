//! How files that somebody else may have put there are read.
//!
//! One rule: product code reads no file whole but by `small-files`, which neither waits for a pipe nor reads without
//! end; what reads otherwise is named here with its reason.

use std::collections::BTreeSet;

use super::{code, sizes::product_of, sources, within};

/// Calls that wait for a pipe, and read a device or a file without end into memory.
const UNBOUNDED: [&str; 3] = ["fs::read(", "fs::read_to_string(", "io::read_to_string("];

/// Who may, and why.
const MAY: [(&str, &str); 2] = [
    (
        "ops/src/config/reader.rs",
        "an operator may hand over the configuration or a secret by a pipe",
    ),
    (
        "ops/src/fail_points.rs",
        "kill tests only; a release does not have it",
    ),
];

/// No product: tests, measurements, and what maintainers run on their own checkout.
const NO_PRODUCT: [&str; 5] = [
    "tests/",
    "ops/xtask/",
    "ops/tests/",
    "workers/ml/tests/",
    "workers/ml/benches/",
];

#[test]
fn files_are_read_whole_within_a_limit_only() {
    let (mut found, mut searched) = (BTreeSet::new(), 0);
    for source in sources() {
        let is_test = source
            .path
            .split('/')
            .any(|part| part.trim_end_matches(".rs") == "tests");
        if is_test || within(&source.path, &NO_PRODUCT) {
            continue;
        }
        searched += 1;
        let code = code(&product_of(&source.text));
        if UNBOUNDED.iter().any(|call| code.contains(call)) {
            found.insert(source.path);
        }
    }
    assert!(searched > 300, "only {searched} files were searched");
    let allowed: BTreeSet<String> = MAY.iter().map(|(path, _)| (*path).to_owned()).collect();
    let others: Vec<&String> = found.difference(&allowed).collect();
    assert!(others.is_empty(), "read these by small-files: {others:?}");
}
