//! The sizes of files and functions.
//!
//! One rule: what is counted is what rustfmt lays out, so a limit cannot be met by writing lines together.

use super::{Source, sources};

/// The longest function, in lines from `fn` to its closing brace.
const LONGEST_FUNCTION: usize = 60;
/// The longest file of the product, in lines.
const LONGEST_FILE: usize = 400;
/// The median length of the product's files, in lines without their unit tests. It may become smaller, never
/// greater.
const MEDIAN_FILE: usize = 120;

/// Whether a file only tests, measures or demonstrates.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| {
        matches!(
            part.trim_end_matches(".rs"),
            "tests" | "test" | "benches" | "fixtures"
        )
    })
}

/// The lines of a file up to the unit tests inside it.
fn without_unit_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

/// A file without the unit tests inside it.
pub(super) fn product_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take(without_unit_tests(text)).collect();
    lines.join("\n")
}

/// The name of the function that a line begins, if it does.
fn function_name(line: &str) -> Option<&str> {
    let (qualifiers, after) = line.trim_start().split_once("fn ")?;
    let is_qualifier = |word: &str| {
        word.starts_with("pub(") || word == "\"C\"" || word.bytes().all(|letter| letter.is_ascii_lowercase())
    };
    let declared = qualifiers.is_empty() || qualifiers.ends_with(' ');
    (declared && qualifiers.split_whitespace().all(is_qualifier))
        .then(|| after.split(['(', '<']).next())
        .flatten()
}

/// Every function of a file with a body, and its length in lines.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        // A declaration without a body ends before the next line of the same depth.
        let body = lines[at..].iter().position(|later| {
            *later == end || (later.ends_with(';') && later.len() - later.trim_start().len() == indent)
        });
        if let Some(length) = body {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn functions_are_found_and_measured_in_every_form() {
    let text = "fn one() {}\n\npub(crate) async fn two<T>(\n    x: T,\n) -> T {\n    x\n}\n\ntrait A {\n    fn three();\n    const fn four() {\n        let fn_like = 1;\n    }\n}\n";
    let found = functions(text);
    assert_eq!(found.iter().find(|(name, _)| *name == "two"), Some(&("two", 5)));
    assert_eq!(
        found.iter().find(|(name, _)| *name == "three"),
        Some(&("three", 1))
    );
    assert_eq!(found.iter().find(|(name, _)| *name == "four"), Some(&("four", 3)));
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let (mut long, mut measured) = (Vec::new(), 0);
    for Source { path, text } in sources().iter().filter(|source| !is_test(&source.path)) {
        for (name, lines) in functions(&product_of(text)) {
            measured += 1;
            if lines > LONGEST_FUNCTION {
                long.push((path.clone(), name.to_owned()));
            }
        }
    }
    assert!(measured > 2_000, "only {measured} functions were found");
    assert!(long.is_empty(), "split these functions: {long:#?}");
}

#[test]
fn no_file_of_the_product_is_too_long_to_be_read_at_once() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| !is_test(&source.path))
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split these files:\n{}", long.join("\n"));
}

#[test]
fn files_of_the_product_are_short() {
    let mut lengths: Vec<usize> = sources()
        .iter()
        .filter(|source| !is_test(&source.path))
        .map(|source| without_unit_tests(&source.text))
        .collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(
        median <= MEDIAN_FILE,
        "the median file has {median} lines; at most {MEDIAN_FILE}"
    );
}
