//! What the reader sees: bars on a terminal, plain lines every two seconds anywhere else.
//!
//! One rule: everything goes to standard output, and when its reader has gone the demo ends.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use domain::text::{printable, steers};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::output::{self, Answer};

/// Time between two plain lines of progress.
const PLAIN: Duration = Duration::from_secs(2);
const TEMPLATE: &str = "  {bar:32} {percent:>3} %  {msg}";

/// Writes the story.
pub(super) struct Show {
    terminal: bool,
}

impl Show {
    /// For standard output as it is.
    pub(super) fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// One line.
    pub(super) fn line(&self, text: &str) -> anyhow::Result<()> {
        told(text)
    }

    /// The title of a chapter.
    pub(super) fn heading(&self, title: &str) -> anyhow::Result<()> {
        self.line(&format!("\n{title}"))
    }

    /// A measure of how far something of `total` parts is; `waiting` is what a terminal shows until then.
    pub(super) fn progress(&self, total: u64, waiting: &str) -> anyhow::Result<Progress> {
        let bar = match self.terminal {
            true => {
                let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stdout_with_hz(10));
                bar.set_style(ProgressStyle::with_template(TEMPLATE)?.progress_chars("━╸─"));
                bar.set_message(waiting.to_owned());
                Some(bar)
            }
            false => None,
        };
        Ok(Progress {
            bar,
            last_line: None,
            shown: String::new(),
        })
    }
}

/// How far something is. Dropping it leaves what was shown last.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    shown: String,
}

impl Progress {
    /// Says how far it is, of how many parts, and in words.
    pub(super) fn at(&mut self, done: u64, total: u64, words: &str) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(printable(words).into_owned());
            return Ok(());
        }
        words.clone_into(&mut self.shown);
        let due = self.last_line.is_none_or(|last| last.elapsed() >= PLAIN);
        if due { self.print() } else { Ok(()) }
    }

    /// Says something that stays, above the bar.
    pub(super) fn note(&self, text: &str) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => {
                bar.println(printable(text));
                Ok(())
            }
            None => told(text),
        }
    }

    /// Leaves the last state on the screen.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => {
                bar.abandon();
                Ok(())
            }
            None if self.shown.is_empty() => Ok(()),
            None => self.print(),
        }
    }

    fn print(&mut self) -> anyhow::Result<()> {
        self.last_line = Some(Instant::now());
        told(&format!("  {}", std::mem::take(&mut self.shown)))
    }
}

/// One line, at once; [`output::Gone`] when nobody reads it.
fn told(text: &str) -> anyhow::Result<()> {
    writeln!(Answer, "{text}")?;
    Answer.flush()?;
    Ok(output::is_read()?)
}

/// A size in words: `738.8 kB`.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// A number as a person would write it: three decimals, or none when it is large or whole.
pub(super) fn number(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 || value.abs() >= 100.0 => format!("{value:.0}"),
        Ok(value) => format!("{value:.3}"),
        Err(_) => tame(text, 24),
    }
}

/// A time in words: `1:05`.
pub(super) fn seconds(count: u32) -> String {
    format!("{}:{:02}", count / 60, count % 60)
}

/// Text from elsewhere on one line, without what could steer a terminal, cut to `most` characters.
pub(super) fn tame(text: &str, most: usize) -> String {
    let clean = |letter: char| if steers(letter) { ' ' } else { letter };
    let mut letters = text.trim().chars().map(clean);
    let mut tamed: String = letters.by_ref().take(most).collect();
    if letters.next().is_some() {
        tamed.push('…');
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::{bytes, number, seconds, tame};

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (bytes(12), bytes(738_760), bytes(4_300_000)),
            ("12 B".into(), "738.8 kB".into(), "4.3 MB".into())
        );
        assert_eq!(
            (number("6.6984745453"), number("8137.62"), number("20")),
            ("6.698".into(), "8138".into(), "20".into())
        );
        assert_eq!((seconds(5), seconds(65)), ("0:05".to_owned(), "1:05".to_owned()));
    }

    #[test]
    fn generated_text_cannot_steer_the_terminal() {
        assert_eq!(tame("a\u{1b}[2Jb\nc", 80), "a [2Jb c");
        assert_eq!(tame("abcdef", 3), "abc…");
    }
}
