//! What the verbs write: to standard output their answer, to standard error what goes wrong and the log.
//!
//! One rule: it is written here and nowhere else. What steers a terminal is escaped on the way
//! ([`domain::text::printable`]), because texts of users, models and servers are among it; only a progress bar
//! draws by itself. A reader that is gone (`anneal … | head`) ends the writing quietly: the verb goes on to its
//! own exit code, or asks [`is_read`] and ends.

use std::{
    io::{ErrorKind, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::text::printable;
use event_store::postgres::describe;

/// Whether the reader of standard output has gone.
static GONE: AtomicBool = AtomicBool::new(false);
/// The first other failure of [`say`], until [`close`] tells it.
static FAILED: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// The reader of standard output has gone: a quiet end, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct Gone;

/// Standard output. Once its reader has gone, what is written is dropped.
pub struct Answer;

/// Standard error. Nobody can be told that it cannot be written.
pub struct Complaint;

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        unless_gone(|| std::io::stdout().lock().write_all(printable(&text).as_bytes()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        unless_gone(|| std::io::stdout().lock().flush())
    }
}

impl Write for Complaint {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        drop(std::io::stderr().lock().write_all(printable(&text).as_bytes()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn unless_gone(write: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    if GONE.load(Ordering::Relaxed) {
        return Ok(());
    }
    match write() {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        done => done,
    }
}

/// Writes to standard output. A failure is told by [`close`].
pub fn say(text: std::fmt::Arguments<'_>) {
    // Whole, so that lines of two threads do not mix.
    let text = text.to_string();
    if let Err(error) = Answer.write_all(text.as_bytes()) {
        let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error);
    }
}

/// Writes to standard error.
pub fn complain(text: std::fmt::Arguments<'_>) {
    drop(Complaint.write_all(text.to_string().as_bytes()));
}

/// Writes bytes to standard output as they are: what this program made by itself, for another program.
///
/// # Errors
/// What could not be written; a reader that has gone is none.
pub fn raw(bytes: &[u8]) -> std::io::Result<()> {
    unless_gone(|| std::io::stdout().lock().write_all(bytes))
}

/// That somebody still reads standard output: for verbs that do their work to be watched.
///
/// # Errors
/// [`Gone`].
pub fn is_read() -> Result<(), Gone> {
    match GONE.load(Ordering::Relaxed) {
        true => Err(Gone),
        false => Ok(()),
    }
}

/// At the end of a verb: everything is written, or nobody reads it.
///
/// # Errors
/// What could not be written, as on a full disk.
pub fn close() -> std::io::Result<()> {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failed {
        Some(error) => Err(error),
        None => Answer.flush(),
    }
}

/// As `println!`, to [`say`].
#[macro_export]
macro_rules! say {
    () => { $crate::output::say(format_args!("\n")) };
    ($($text:tt)+) => { $crate::output::say(format_args!("{}\n", format_args!($($text)+))) };
}

/// As `eprintln!`, to [`complain`].
#[macro_export]
macro_rules! complain {
    ($($text:tt)+) => { $crate::output::complain(format_args!("{}\n", format_args!($($text)+))) };
}

/// The error with its causes, each said once: many messages carry that of their cause already.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let words = cause.to_string();
        // The driver's own words name a line of the server's source.
        let cause = match cause.downcast_ref::<sqlx::Error>() {
            Some(error) => describe(error),
            None => words.clone(),
        };
        match told.as_str() {
            "" => cause,
            known if known.contains(&cause) || known.contains(&words) => told,
            _ => format!("{told}: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn an_error_says_each_of_its_causes_once() {
        let cause = std::io::Error::other("no space left");
        let error = anyhow::Error::from(cause).context("the log cannot be used: no space left");
        assert_eq!(
            told(&error.context("it does not start")),
            "it does not start: the log cannot be used: no space left"
        );
    }
}
