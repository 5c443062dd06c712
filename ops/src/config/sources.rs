//! Where values come from: file, environment and flags, as they stand.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{keys::SECTIONS, service_links::is_service_link};

/// Variables named `ANNEAL_…` that are not keys, with what they are for.
pub(super) const OTHER_VARIABLES: [(&str, &str); 3] = [
    (
        CONFIG_VARIABLE,
        "the configuration file to read instead of `anneal.toml` in the data folder",
    ),
    (
        "ANNEAL_PG_BIN",
        "the folder of PostgreSQL's programs, instead of a search",
    ),
    ("ANNEAL_TEST_DIR", "where the tests put their database"),
];
/// The variable that names the file.
pub(super) const CONFIG_VARIABLE: &str = "ANNEAL_CONFIG";
/// Variables that other systems use for the same, and our keys.
pub(super) const ALIASES: [(&str, &str); 3] = [
    ("DATABASE_URL", "database.url"),
    ("EVENT_STORE_URL", "events.url"),
    ("OBJECT_STORE_URL", "objects.url"),
];
/// All our variables begin so.
pub(super) const PREFIX: &str = "ANNEAL_";

/// The key that a variable sets.
pub(super) fn key_of(name: &str) -> Option<String> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let keys = SECTIONS.iter().flat_map(|section| section.keys);
    alias.map(|(_, key)| (*key).to_owned()).or_else(|| {
        keys.flat_map(|key| [key.name.to_owned(), format!("{}_file", key.name)])
            .find(|key| variable(key) == name)
    })
}

/// The options of the command line that set one key.
pub(super) const OPTIONS: [(&str, &str); 2] = [("--data", "data_dir"), ("--listen", "http.address")];

/// The three sources, before anything is checked. Built by hand in tests.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file named by `--config`.
    pub file: Option<PathBuf>,
    /// Variables of the environment; those that are none of ours are skipped.
    pub environment: Vec<(OsString, OsString)>,
    /// Value of `--data`.
    pub data: Option<String>,
    /// Value of `--listen`.
    pub listen: Option<String>,
    /// Key and value of each `--set`, the key as in the file: `("http.address", "[::]:80")`.
    pub flags: Vec<(String, String)>,
    /// What was given to `--set` and has no `=`.
    pub malformed: Vec<String>,
}

impl Sources {
    /// This process's environment, with nothing of the command line yet.
    #[must_use]
    pub fn of_environment() -> Self {
        Self {
            environment: std::env::vars_os().collect(),
            ..Self::default()
        }
    }

    /// Takes one `--set KEY=VALUE` of the command line.
    pub fn set(&mut self, pair: &str) {
        match pair.split_once('=') {
            Some((key, value)) => self.flags.push((key.trim().to_owned(), value.trim().to_owned())),
            None => self.malformed.push(pair.to_owned()),
        }
    }

    /// Option, key and value of everything on the command line, the strongest last.
    pub(super) fn options(&self) -> impl DoubleEndedIterator<Item = (&str, &str, &str)> {
        let single = OPTIONS.into_iter().zip([&self.data, &self.listen]);
        let single = single.filter_map(|((option, key), value)| Some((option, key, value.as_deref()?)));
        let set = self
            .flags
            .iter()
            .map(|(key, value)| ("--set", key.as_str(), value.as_str()));
        single.chain(set)
    }
}

impl Sources {
    /// The names of the variables that look like ours and are those of a Kubernetes service or a Docker link: passed
    /// over, and worth a word.
    #[must_use]
    pub fn service_links(&self) -> Vec<String> {
        let text = |text: &OsString| text.to_str().map(str::to_owned);
        let ours = self.environment.iter().filter_map(|(name, value)| {
            let name = text(name).filter(|name| name.starts_with(PREFIX))?;
            Some((name, text(value)?))
        });
        let ours: Vec<(String, String)> = ours.collect();
        let mut links: Vec<String> = ours
            .iter()
            .filter(|(name, text)| key_of(name).is_none() && is_service_link(name, text, &ours))
            .map(|(name, _)| name.clone())
            .collect();
        links.sort();
        links
    }
}

/// The variable of a key: `ANNEAL_HTTP_ADDRESS` for `http.address`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}
