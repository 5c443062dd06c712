//! Gathering what the sources say about each key, and reading it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::keys::{Key, Resolver, find};
use super::problem::Problem;
use super::service_links;
use super::setting::Setting;
use super::sources::{ALIASES, CONFIG_VARIABLE, OTHER_VARIABLES, PREFIX, Sources, key_of, variable};

/// The value of a key in one source.
struct SourceValue {
    source: String,
    text: String,
}

/// The values by key, weakest source first, and what is wrong so far.
pub(super) struct Reader {
    values: BTreeMap<&'static str, Vec<SourceValue>>,
    problems: Vec<Problem>,
}

/// The option of the command line that sets a key.
fn option(key: &str) -> String {
    match key {
        "data_dir" => "--data".to_owned(),
        "http.address" => "--listen".to_owned(),
        key => format!("--set {key}"),
    }
}

/// Which source, as far as it matters for what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Environment,
    Flag,
}

impl Reader {
    /// Takes everything that the sources say.
    pub(super) fn gather(sources: &Sources) -> Self {
        let mut reader = Self {
            values: BTreeMap::new(),
            problems: Vec::new(),
        };
        let environment = reader.environment(sources);
        reader.file(sources, &environment);
        for (name, text) in &environment {
            reader.variable(name, text.clone(), &environment);
        }
        for (key, text) in &sources.flags {
            reader.say(Kind::Flag, key, option(key), text.clone());
        }
        reader
    }

    /// What is wrong.
    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems
    }

    fn wrong(&mut self, source: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            source: source.into(),
            message: message.into(),
        });
    }

    /// Our variables as text.
    fn environment(&mut self, sources: &Sources) -> Vec<(String, String)> {
        let mut ours = Vec::new();
        for (name, text) in &sources.environment {
            let Some(name) = name.to_str() else { continue };
            if !name.starts_with(PREFIX) && ALIASES.iter().all(|(alias, _)| *alias != name) {
                continue;
            }
            match text.to_str() {
                Some(text) => ours.push((name.to_owned(), text.to_owned())),
                None => self.wrong(format!("variable {name}"), "is not UTF-8"),
            }
        }
        ours.sort();
        ours
    }

    /// The named file, which must be there, or the one in the data folder if it is there.
    fn file(&mut self, sources: &Sources, environment: &[(String, String)]) {
        let variable_says = |wanted: &str| {
            environment
                .iter()
                .find(|(name, text)| name == wanted && !text.is_empty())
                .map(|(_, text)| text.clone())
        };
        let named = sources
            .file
            .clone()
            .or_else(|| variable_says(CONFIG_VARIABLE).map(PathBuf::from));
        let flag = sources
            .flags
            .iter()
            .rev()
            .find(|(key, _)| key == "data_dir")
            .map(|(_, text)| text.clone());
        let data = flag.or_else(|| variable_says(&variable("data_dir")));
        let data = data
            .or_else(|| find("data_dir").map(|key| key.default.to_owned()))
            .unwrap_or_default();
        let path = named
            .clone()
            .unwrap_or_else(|| Path::new(&data).join("anneal.toml"));
        let source = format!("file {}", path.display());
        match std::fs::read_to_string(&path) {
            Ok(text) => self.toml(&source, &text, named.is_none()),
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {}
            Err(error) => self.wrong(source, format!("cannot be read: {error}")),
        }
    }

    fn toml(&mut self, source: &str, text: &str, inside_data: bool) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                // The error's own text would show the line, which may hold a secret.
                let start = error.span().map_or(0, |span| span.start);
                let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
                return self.wrong(source, format!("line {line} is not TOML: {}", error.message()));
            }
        };
        if inside_data && table.contains_key("data_dir") {
            self.wrong(
                source,
                "data_dir cannot be set by the file in the data folder; use --data",
            );
        }
        self.table(source, "", table);
    }

    fn table(&mut self, source: &str, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                toml::Value::Table(inner) => self.table(source, &key, inner),
                toml::Value::Array(items) => match items.iter().map(plain).collect::<Option<Vec<_>>>() {
                    Some(items) => self.say(Kind::File, &key, source.to_owned(), items.join(",")),
                    None => self.wrong(source, format!("{key}: expected a list of texts")),
                },
                value => match plain(&value) {
                    Some(text) => self.say(Kind::File, &key, source.to_owned(), text),
                    None => self.wrong(source, format!("{key}: expected a text, a number, true or false")),
                },
            }
        }
    }

    fn variable(&mut self, name: &str, text: String, all: &[(String, String)]) {
        if OTHER_VARIABLES.iter().any(|(other, _)| *other == name) {
            return;
        }
        // Elsewhere they are unknown, and so refused: nobody shall believe that they arm anything.
        #[cfg(feature = "fail-points")]
        if crate::fail_points::VARIABLES.contains(&name) {
            return;
        }
        let source = format!("variable {name}");
        match key_of(name) {
            Some(key) => self.say(Kind::Environment, &key, source, text),
            None if service_links::is_service_link(name, &text, all) => {}
            None => self.wrong(source, "is no key of Anneal; see the configuration reference"),
        }
    }

    /// One source says `text` for `key`.
    fn say(&mut self, kind: Kind, key: &str, source: String, text: String) {
        let secret_file = key
            .strip_suffix("_file")
            .and_then(find)
            .filter(|found| found.secret);
        if let Some(found) = secret_file {
            return match std::fs::read_to_string(&text) {
                Ok(text) => self.push(found, source, text.trim().to_owned()),
                Err(error) => self.wrong(source, format!("{key}: {text} cannot be read: {error}")),
            };
        }
        match find(key) {
            Some(found) if found.secret && kind != Kind::Environment => {
                let name = variable(key);
                self.wrong(
                    source,
                    format!("{key} is a secret: set {name}, or {key}_file to a file that holds it"),
                );
            }
            Some(found) => self.push(found, source, text),
            None => self.wrong(
                source,
                format!("{key} is no key of Anneal; see the configuration reference"),
            ),
        }
    }

    fn push(&mut self, key: &'static Key, source: String, text: String) {
        self.values
            .entry(key.name)
            .or_default()
            .push(SourceValue { source, text });
    }
}

impl Resolver for Reader {
    /// The value of the strongest source, or the default. Values that are overridden are checked too.
    fn resolve<T: Setting>(&mut self, key: &Key) -> Option<T> {
        let values = self.values.remove(key.name).unwrap_or_default();
        if values.is_empty() {
            return self.one(key, "default", key.default);
        }
        values
            .iter()
            .map(|values| self.one(key, &values.source, &values.text))
            .last()
            .flatten()
    }
}

impl Reader {
    fn one<T: Setting>(&mut self, key: &Key, source: &str, text: &str) -> Option<T> {
        let read = T::read(text).and_then(|value| match (key.range, value.number()) {
            (Some((least, most)), Some(number)) if number < least || number > most => {
                Err(format!("expected {least} to {most} {}", key.unit)
                    .trim_end()
                    .to_owned())
            }
            _ => Ok(value),
        });
        match read {
            Ok(value) => Some(value),
            Err(expected) => {
                let shown = if key.secret {
                    "the secret is not valid".into()
                } else {
                    format!("'{text}'")
                };
                self.wrong(source, format!("{} = {shown}: {expected}", key.name));
                None
            }
        }
    }
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}
