//! Gathering what the sources say about each key, and reading it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use event_store::postgres::{SSL_MODES, is_ssl_mode};

use super::keys::{Key, Resolver, find};
use super::problem::Problem;
use super::service_links;
use super::setting::Setting;
use super::sources::{ALIASES, CONFIG_VARIABLE, OTHER_VARIABLES, PREFIX, Sources, key_of, variable};

/// The value of a key in one source.
struct SourceValue {
    kind: Kind,
    source: String,
    text: String,
}

/// The values by key, weakest source first, and what is wrong so far.
pub(super) struct Reader {
    values: BTreeMap<&'static str, Vec<SourceValue>>,
    problems: Vec<Problem>,
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
        reader.driver_variables(sources);
        reader.same_key_twice();
        for pair in &sources.malformed {
            // Whatever follows the key may be a secret.
            let key: String = pair.chars().take_while(|letter| is_of_a_key(*letter)).collect();
            reader.wrong(format!("--set {key}"), "write it as KEY=VALUE");
        }
        for (option, key, text) in sources.options() {
            let source = match option {
                "--set" => format!("--set {key}"),
                option => option.to_owned(),
            };
            reader.say(Kind::Flag, key, source, text.to_owned());
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
        let mut flags = sources.options().rev();
        let flag = flags
            .find(|(_, key, _)| *key == "data_dir")
            .map(|(_, _, text)| text.to_owned());
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
                Ok(text) => self.push(kind, found, source, text.trim().to_owned()),
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
            Some(found) => self.push(kind, found, source, text),
            None => self.wrong(
                source,
                format!("{key} is no key of Anneal; see the configuration reference"),
            ),
        }
    }

    fn push(&mut self, kind: Kind, key: &'static Key, source: String, text: String) {
        self.values
            .entry(key.name)
            .or_default()
            .push(SourceValue { kind, source, text });
    }

    /// Variables that set one key to different values, as `DATABASE_URL` and `ANNEAL_DATABASE_URL`: none of them is
    /// the stronger one.
    fn same_key_twice(&mut self) {
        let mut problems = Vec::new();
        for (key, values) in &self.values {
            let ours = || values.iter().filter(|value| value.kind == Kind::Environment);
            let differ = ours()
                .zip(ours().skip(1))
                .any(|(one, other)| one.text != other.text);
            if differ {
                let sources: Vec<&str> = ours().map(|value| value.source.as_str()).collect();
                let message = format!("they set {key} to different values; set one of them only");
                problems.push((sources.join(" and "), message));
            }
        }
        for (source, message) in problems {
            self.wrong(source, message);
        }
    }

    /// Variables that the PostgreSQL driver reads, and would pass over when they are bad.
    fn driver_variables(&mut self, sources: &Sources) {
        for (name, text) in &sources.environment {
            let text = text.to_str().unwrap_or("?");
            match name.to_str() {
                Some("PGSSLMODE") if !is_ssl_mode(text) && !text.is_empty() => {
                    self.wrong("variable PGSSLMODE", format!("expected {}", SSL_MODES.join(", ")));
                }
                Some("PGPORT") if !text.is_empty() && text.parse::<u16>().is_err() => {
                    self.wrong("variable PGPORT", "expected a port, 1 to 65535");
                }
                _ => {}
            }
        }
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
        let read = match (T::read(text), key.range) {
            (Ok(value), Some((least, most)))
                if value
                    .number()
                    .is_some_and(|number| number < least || number > most) =>
            {
                Err(String::new())
            }
            (read, _) => read,
        };
        let read = match (read, key.range) {
            (Err(_), Some((least, most))) => Err(number_expected(least, most, key.unit)),
            (read, _) => read,
        };
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

/// What a number is to be: `-1`, `500ms` and what is out of range get the same words.
fn number_expected(least: u64, most: u64, unit: &str) -> String {
    match unit {
        "" => format!("expected {least} to {most}, as a whole number"),
        unit => format!("expected {least} to {most} {unit}, as a whole number without the unit"),
    }
}

/// Whether keys may have this letter.
fn is_of_a_key(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-')
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}
