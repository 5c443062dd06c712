//! The configuration: one typed value, read once at start.
//!
//! One rule: every key is declared in [`keys`], and nowhere else; what is not declared is refused. Values
//! come from a TOML file, then the environment, then flags, each overriding the one before. Everything
//! wrong with all of them is reported at once. Secrets come from the environment or from a file named by
//! `<key>_file`, and are never printed.

mod check;
mod keys;
mod problem;
mod reader;
mod reference;
mod service_links;
mod setting;
mod sources;

pub use keys::{
    Audit, Auth, Config, Database, Events, General, Http, Log, Metrics, Objects, Uploads, Worker,
};
pub use problem::{Problem, Problems};
pub use reference::reference;
pub use setting::{EventLogUrl, LogFilter, LogFormat, ObjectUrl, Origins, PostgresUrl, Setting};
pub use sources::Sources;

impl Config {
    /// Reads and checks the whole configuration.
    ///
    /// # Errors
    /// [`Problems`]: all unknown keys and all bad values of all sources, each with where it was found.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut reader = reader::Reader::gather(sources);
        let config = Self::read(&mut reader);
        let mut problems = reader.finish();
        if let Some(config) = &config {
            problems.extend(check::across(config));
        }
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems(problems)),
        }
    }
}

#[cfg(test)]
mod tests;
