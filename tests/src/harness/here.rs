//! What a test needs of the machine besides the build.
//!
//! The rule: a test that cannot run says so, and where a pass is taken for proof, in CI, it fails.

/// Says that the test proves nothing here for want of `need`.
///
/// # Panics
/// In CI, that is when the variable `CI` is set, unless it says `false` or `0`.
pub fn cannot_run(need: &str) {
    assert!(
        !in_ci(),
        "this test cannot run here, and CI must not pass without it: {need}"
    );
    eprintln!("NOT RUN: {need}");
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|text| !matches!(text.as_str(), "" | "0" | "false"))
}
