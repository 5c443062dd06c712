//! Outcomes that are written down in documents: a row each, between two lines that nobody else writes.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

/// `text` with `row` between `marks`, in the place of the one that begins with `name`.
///
/// # Errors
/// When the marks are not there, in their order.
pub(crate) fn with_row(text: &str, marks: [&str; 2], name: &str, row: &str) -> Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let place = |mark: &str| lines.iter().position(|line| *line == mark);
    let (Some(begin), Some(end)) = (place(marks[0]), place(marks[1])) else {
        bail!("the lines {} and {} are missing", marks[0], marks[1]);
    };
    ensure!(begin < end, "{} stands before {}", marks[1], marks[0]);
    let of_name = format!("| {name} |");
    let mut kept: Vec<&str> = lines[..end].to_vec();
    match kept.iter().position(|line| line.starts_with(&of_name)) {
        Some(earlier) if earlier > begin => kept[earlier] = row,
        _ => kept.push(row),
    }
    kept.extend(&lines[end..]);
    Ok(kept.join("\n") + "\n")
}

/// What a program says on its standard output.
///
/// # Errors
/// When it cannot be run or fails.
pub(crate) fn said(root: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let said = Command::new(program).args(arguments).current_dir(root).output();
    let said = said.with_context(|| format!("{program} could not be run"))?;
    ensure!(said.status.success(), "{program} failed ({})", said.status);
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::with_row;

    const MARKS: [&str; 2] = ["<!-- begin -->", "<!-- end -->"];

    #[test]
    fn a_run_replaces_the_one_before_it_and_no_other() {
        let text = format!(
            "head\n\n{}\n| a | 1 |\n| ab | 1 |\n{}\n\n| b | tail |\n",
            MARKS[0], MARKS[1]
        );
        let text = with_row(&text, MARKS, "a", "| a | 2 |").expect("marks");
        let text = with_row(&text, MARKS, "b", "| b | 2 |").expect("marks");
        let expected = format!(
            "head\n\n{}\n| a | 2 |\n| ab | 1 |\n| b | 2 |\n{}\n\n| b | tail |\n",
            MARKS[0], MARKS[1]
        );
        assert_eq!(text, expected);
        assert!(with_row("no marks", MARKS, "a", "| a | 2 |").is_err());
    }
}
