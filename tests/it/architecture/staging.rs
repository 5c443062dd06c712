//! Where product code keeps what is not finished.
//!
//! One rule: below the data folder, where somebody sweeps it. What lies in the system's temporary folder outlives a killed
//! process, and nobody knows whose it was.

use super::{code, names, sizes::product_of, sources, within};

/// What makes files or folders there, or says where that is.
const TEMPORARY: [&str; 4] = ["tempfile", "temp_dir", "TempDir", "tempdir"];

/// Who may, and why.
const MAY: [(&str, &str); 3] = [
    (
        "ops/src/postgres/socket.rs",
        "a path of a socket has a hundred bytes at most; the folder is named by the data folder, so there is one",
    ),
    (
        "workers/ml/src/self_test/",
        "a process of seconds on machines with a GPU, with kilobytes of references",
    ),
    ("domain/objects/src/testing.rs", "only tests are built with it"),
];

/// No product: tests, measurements, and what maintainers run on their own checkout.
const NO_PRODUCT: [&str; 3] = ["tests/", "ops/xtask/", "ops/tests/"];

#[test]
fn nothing_unfinished_lies_outside_of_the_data_folder() {
    let allowed: Vec<&str> = MAY.iter().map(|(place, _)| *place).collect();
    let mut faults = Vec::new();
    for source in sources() {
        let path = source.path.as_str();
        let test = path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/");
        if test || within(path, &NO_PRODUCT) || within(path, &allowed) {
            continue;
        }
        let code = code(&product_of(&source.text));
        if let Some(word) = TEMPORARY.into_iter().find(|word| names(&code, word)) {
            faults.push(format!("{path}: {word}"));
        }
    }
    assert!(
        faults.is_empty(),
        "keep it below the data folder, where it is swept:\n{}",
        faults.join("\n")
    );
}
