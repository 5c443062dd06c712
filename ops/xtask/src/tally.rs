//! Long drills in blocks: each that held is written down at once, so that one which was stopped goes on where it was, on
//! another day and another machine too.
//!
//! The rule: what counts as done has run to its end and held. A block that broke does not count; it comes again.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::record::{said, with_row};

/// Where it is written down.
const RECORD: &str = "tests/README.md";
/// The lines between which it stands there.
const MARKS: [&str; 2] = ["<!-- drills: begin -->", "<!-- drills: end -->"];

/// A drill that is done in blocks.
pub(crate) struct Drill<'a> {
    /// Its command.
    pub(crate) name: &'a str,
    /// The seed that it begins with.
    pub(crate) first: u64,
    /// How much there shall be in the end, what was done before included.
    pub(crate) wanted: u64,
    /// How much one block is.
    pub(crate) block: u64,
}

impl Drill<'_> {
    /// Does what is missing; `anew` forgets what was done before. `block` is told how much is done and how much to do.
    ///
    /// # Errors
    /// When a block breaks, or the record cannot be read or written.
    pub(crate) fn go_on(
        &self,
        root: &Path,
        anew: bool,
        block: impl Fn(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let path = root.join(RECORD);
        let read = || std::fs::read_to_string(&path).with_context(|| path.display().to_string());
        let mut done = if anew {
            0
        } else {
            done(&read()?, self.name, self.first)
        };
        if done > 0 {
            eprintln!(
                "{done} of {} were done before; --anew begins again at the first",
                self.wanted
            );
        }
        while done < self.wanted {
            let count = self.block.min(self.wanted - done);
            block(done, count).with_context(|| {
                format!(
                    "of {}, {done} held before; what broke is done again next time",
                    self.wanted
                )
            })?;
            done += count;
            let (day, commit) = (
                said(root, "date", &["-u", "+%F"])?,
                said(root, "git", &["rev-parse", "--short=10", "HEAD"])?,
            );
            let row = row(self.name, self.first, done, &day, &commit);
            let text = with_row(&read()?, MARKS, &key(self.name, self.first), &row)?;
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            eprintln!("{done} of {} held", self.wanted);
        }
        ensure!(done >= self.wanted, "{done} of {} were done", self.wanted);
        Ok(())
    }
}

fn key(name: &str, first: u64) -> String {
    format!("{name} | {first}")
}

fn row(name: &str, first: u64, done: u64, day: &str, commit: &str) -> String {
    format!("| {} | {done} | {day} | {commit} |", key(name, first))
}

/// How much of a drill is written down as done.
fn done(text: &str, name: &str, first: u64) -> u64 {
    let start = format!("| {} | ", key(name, first));
    let row = text.lines().find_map(|line| line.strip_prefix(&start));
    let number = row.and_then(|row| row.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::{Result, bail};

    use super::{Drill, MARKS, RECORD, done, row};

    fn folder() -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("tests"))?;
        std::fs::write(
            folder.path().join(RECORD),
            format!("head\n\n{}\n{}\n\ntail\n", MARKS[0], MARKS[1]),
        )?;
        let git = |arguments: &[&str]| crate::record::said(folder.path(), "git", arguments);
        git(&["init", "-q"])?;
        git(&[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "one",
        ])?;
        Ok(folder)
    }

    #[test]
    fn what_was_stopped_goes_on_where_it_was_and_what_broke_comes_again() -> Result<()> {
        let folder = folder()?;
        let drill = Drill {
            name: "kill",
            first: 7,
            wanted: 50,
            block: 20,
        };
        let blocks = RefCell::new(Vec::new());
        let breaks_at = |place: u64| {
            let blocks = &blocks;
            move |done: u64, count: u64| {
                blocks.borrow_mut().push((done, count));
                if done == place { bail!("broken") } else { Ok(()) }
            }
        };
        assert!(drill.go_on(folder.path(), false, breaks_at(20)).is_err());
        drill.go_on(folder.path(), false, breaks_at(u64::MAX))?;
        assert_eq!(blocks.take(), [(0, 20), (20, 20), (20, 20), (40, 10)]);
        drill.go_on(folder.path(), false, breaks_at(0))?;
        assert_eq!(blocks.take(), [], "it is done");
        drill.go_on(folder.path(), true, breaks_at(u64::MAX))?;
        assert_eq!(blocks.take().len(), 3, "anew");
        let text = std::fs::read_to_string(folder.path().join(RECORD))?;
        assert_eq!(done(&text, "kill", 7), 50);
        assert_eq!(done(&text, "kill", 8), 0, "another seed is another drill");
        assert!(text.ends_with("\n\ntail\n"), "{text}");
        Ok(())
    }

    #[test]
    fn the_record_has_a_place_for_it() {
        let text = std::fs::read_to_string(crate::root().expect("a root").join(RECORD)).expect("a record");
        let row = row("kill", 1, 20, "2026-12-01", "0123456789");
        crate::record::with_row(&text, MARKS, "kill | 1", &row).expect("marks");
    }
}
