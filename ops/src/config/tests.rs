//! OP-5: what is accepted, what wins, and that mistakes are told all at once.

use std::ffi::OsString;
use std::path::Path;

use super::keys::SECTIONS;
use super::{Config, LogFormat, Problems, Sources, reference};

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, text)| (OsString::from(name), OsString::from(text)))
        .collect()
}

fn flags(flags: &[(&str, &str)]) -> Vec<(String, String)> {
    flags
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect()
}

/// Sources with a file of this content.
fn with_file(folder: &Path, text: &str) -> Sources {
    let file = folder.join("some.toml");
    std::fs::write(&file, text).expect("written");
    Sources {
        file: Some(file),
        ..Sources::default()
    }
}

fn refused(sources: &Sources) -> Problems {
    Config::load(sources).expect_err("it must be refused")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// OP-5
#[test]
fn nothing_set_gives_the_defaults() {
    let config = Config::load(&Sources::default()).expect("defaults are good");
    assert_eq!(config.http.address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.uploads.max_bytes, 10 << 30);
    assert_eq!(config.database.url.0, None);
    assert!(config.auth.self_registration && config.http.introspection);
}

/// OP-5
#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = folder();
    let mut sources = with_file(
        folder.path(),
        "[http]\naddress = '1.1.1.1:1'\nbody_limit = 2048\n[log]\nformat = 'json'\n[auth]\nhashing_concurrency = 3\n",
    );
    sources.environment = environment(&[
        ("ANNEAL_HTTP_ADDRESS", "2.2.2.2:2"),
        ("ANNEAL_AUTH_HASHING_CONCURRENCY", "4"),
    ]);
    sources.flags = flags(&[("http.address", "3.3.3.3:3")]);
    let config = Config::load(&sources).expect("all good");
    assert_eq!(config.http.address.to_string(), "3.3.3.3:3");
    assert_eq!(config.auth.hashing_concurrency, 4);
    assert_eq!(config.http.body_limit, 2048);
    assert_eq!(config.log.format, LogFormat::Json);
}

/// OP-5
#[test]
fn every_mistake_of_every_source_is_told_at_once() {
    let folder = folder();
    let mut sources = with_file(
        folder.path(),
        "colour = 'red'\n[http]\naddress = 'nowhere'\n[auth]\nhashing_concurrency = 0\n[worker]\ncount = 1.5\n",
    );
    sources.environment = environment(&[("ANNEAL_HTTP_ADRESS", "x"), ("ANNEAL_LOG_LEVEL", "loud")]);
    sources.flags = flags(&[("http.introspection", "maybe"), ("nothing", "x")]);
    let problems = refused(&sources).to_string();
    for part in [
        "8 mistakes",
        "some.toml: colour is no key",
        "some.toml: http.address = 'nowhere': expected an address",
        "some.toml: auth.hashing_concurrency = '0': expected 1 to 64",
        "some.toml: worker.count: expected a text, a number",
        "variable ANNEAL_HTTP_ADRESS: is no key",
        "variable ANNEAL_LOG_LEVEL: log.level = 'loud'",
        "--set http.introspection: http.introspection = 'maybe'",
        "--set nothing: nothing is no key",
    ] {
        assert!(problems.contains(part), "'{part}' in\n{problems}");
    }
}

/// The list of mistakes with this environment and these `--set`s.
fn mistakes(variables: &[(&str, &str)], set: &[&str]) -> Vec<String> {
    let mut sources = Sources {
        environment: environment(variables),
        ..Sources::default()
    };
    set.iter().for_each(|pair| sources.set(pair));
    let told = refused(&sources).to_string();
    told.lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_misspelt_parameter_of_a_database_url_is_a_mistake() {
    let found = mistakes(
        &[
            (
                "DATABASE_URL",
                "postgres://anneal:hunter2@db/anneal?sslmod=verify-full",
            ),
            (
                "EVENT_STORE_URL",
                "postgres://anneal:hunter2@db/anneal?sslmode=banana&sslrootcert=/none",
            ),
        ],
        &["http.body_limit=1"],
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    for (line, parts) in found.iter().zip([
        ["--set http.body_limit", "expected 1024"],
        [
            "variable DATABASE_URL: database.url",
            "unknown parameter 'sslmod'; known: sslmode, sslrootcert",
        ],
        [
            "variable EVENT_STORE_URL: events.url",
            "sslmode: expected disable, allow, prefer, require, verify-ca",
        ],
    ]) {
        assert!(
            parts.iter().all(|part| line.contains(part)),
            "{parts:?} in {line}"
        );
        assert!(!line.contains("hunter2"), "{line}");
    }
    assert!(
        found[2].contains("sslrootcert: /none cannot be read"),
        "{found:#?}"
    );
    let found = mistakes(&[("PGSSLMODE", "verify-ful"), ("PGPORT", "x")], &[]);
    assert_eq!(found.len(), 2, "the driver would pass them over: {found:#?}");
}

#[test]
fn two_variables_of_one_key_have_one_value() {
    let (one, other) = ("postgres://a:hunter2@db/x", "postgres://a:hunter3@db/x");
    let found = mistakes(&[("DATABASE_URL", one), ("ANNEAL_DATABASE_URL", other)], &[]);
    let [line] = &found[..] else { panic!("{found:#?}") };
    assert!(
        line.starts_with("variable ANNEAL_DATABASE_URL and variable DATABASE_URL: they set database.url"),
        "{line}"
    );
    assert!(!line.contains("hunter"), "{line}");
    let same = Sources {
        environment: environment(&[("DATABASE_URL", one), ("ANNEAL_DATABASE_URL", one)]),
        ..Sources::default()
    };
    assert!(Config::load(&same).is_ok());
}

#[test]
fn a_number_is_asked_for_with_its_range_and_unit() {
    for text in ["-1", "500ms", "19", "60001", "1e3", ""] {
        let found = mistakes(&[], &[&format!("audit.checkpoint_interval_ms={text}")]);
        assert!(
            found[0].ends_with("expected 20 to 60000 milliseconds, as a whole number without the unit"),
            "{found:#?}"
        );
    }
    let found = mistakes(&[], &["worker.count=-1"]);
    assert!(
        found[0].ends_with("expected 0 to 64, as a whole number"),
        "{found:#?}"
    );
}

#[test]
fn a_mistake_of_the_command_line_is_told_under_its_own_option() {
    let found = mistakes(
        &[],
        &[
            "http.address=x",
            "noequals",
            "worker.count:hunter2",
            "audit.origin=a\nb\u{1b}",
        ],
    );
    assert_eq!(found.len(), 4, "one line each: {found:#?}");
    for part in [
        "--set noequals: write it as KEY=VALUE",
        "--set worker.count: write it as KEY=VALUE",
        "--set http.address: http.address = 'x'",
        "--set audit.origin: audit.origin = 'a\\nb\\u001b'",
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(part)),
            "{part} in {found:#?}"
        );
    }
    let listen = Sources {
        listen: Some("x".to_owned()),
        ..Sources::default()
    };
    assert!(
        refused(&listen)
            .to_string()
            .contains("\n  --listen: http.address = 'x'")
    );
}

/// FR8: a service or linked container named `anneal` beside the process.
#[test]
fn service_links_are_passed_over_and_mistakes_are_not() {
    let links = [
        ("ANNEAL_PORT", "tcp://10.96.12.7:8080"),
        ("ANNEAL_PORT_8080_TCP_ADDR", "10.96.12.7"),
        ("ANNEAL_SERVICE_HOST", "10.96.12.7"),
        ("ANNEAL_SERVICE_PORT_HTTP", "8080"),
    ];
    let mut sources = Sources {
        environment: environment(&links),
        ..Sources::default()
    };
    Config::load(&sources).expect("they say nothing to Anneal");
    assert_eq!(sources.service_links(), links.map(|(name, _)| name));
    sources
        .environment
        .extend(environment(&[("ANNEAL_PROT", "8080")]));
    let problems = refused(&sources);
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert!(
        problems.to_string().contains("variable ANNEAL_PROT"),
        "{problems}"
    );
}

/// OP-5
#[test]
fn a_secret_comes_by_environment_or_file_and_is_never_printed() {
    const SECRET: &str = "postgres://anneal:hunter2@db/anneal";
    let folder = folder();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).expect("written");
    let by_variable = Sources {
        environment: environment(&[("DATABASE_URL", SECRET)]),
        ..Sources::default()
    };
    let by_file = with_file(
        folder.path(),
        &format!("database.url_file = '{}'", file.display()),
    );
    for sources in [by_variable, by_file] {
        let config = Config::load(&sources).expect("all good");
        assert_eq!(config.database.url.0.as_deref(), Some(SECRET));
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
    let mut sources = with_file(folder.path(), &format!("database.url = '{SECRET}'"));
    sources.flags = flags(&[("database.url", SECRET)]);
    sources.environment = environment(&[("ANNEAL_EVENTS_URL", "mysql://a:hunter2@b/c")]);
    let problems = refused(&sources);
    assert_eq!(problems.0.len(), 3, "{problems}");
    assert!(
        !format!("{problems} {problems:?}").contains("hunter2"),
        "{problems}"
    );
    let broken = with_file(
        folder.path(),
        "[database]\nurl = \"postgres://a:hunter2@b\nx = 1\n",
    );
    let problems = refused(&broken).to_string();
    assert!(
        problems.contains("line 2 is not TOML") && !problems.contains("hunter2"),
        "{problems}"
    );
}

#[test]
fn the_file_in_the_data_folder_is_read_and_a_named_one_must_exist() {
    let folder = folder();
    std::fs::write(folder.path().join("anneal.toml"), "[metrics]\nenabled = false\n").expect("written");
    let data = folder.path().to_str().expect("text");
    let here = Sources {
        flags: flags(&[("data_dir", data)]),
        ..Sources::default()
    };
    assert!(!Config::load(&here).expect("all good").metrics.enabled);
    let named = Sources {
        file: Some(folder.path().join("none.toml")),
        ..here.clone()
    };
    assert!(refused(&named).to_string().contains("none.toml: cannot be read"));
    std::fs::write(folder.path().join("anneal.toml"), "data_dir = 'elsewhere'\n").expect("written");
    assert!(
        refused(&here)
            .to_string()
            .contains("data_dir cannot be set by the file in the data folder")
    );
}

#[test]
fn origins_are_origins() {
    let load = |text: &str| {
        let flags = flags(&[("http.allowed_origins", text)]);
        Config::load(&Sources {
            flags,
            ..Sources::default()
        })
    };
    let config = load("https://a.example, http://localhost:3000").expect("two origins");
    assert_eq!(
        config.http.allowed_origins.0,
        ["https://a.example", "http://localhost:3000"]
    );
    for bad in [
        "*",
        "https://a.example/path",
        "a.example",
        "file:///x",
        "https://u@a.example",
    ] {
        assert!(load(bad).is_err(), "{bad}");
    }
}

#[test]
fn contradictions_between_keys_are_refused() {
    let flags = flags(&[
        ("auth.access_token_minutes", "1440"),
        ("auth.refresh_token_days", "1"),
    ]);
    let problems = refused(&Sources {
        flags,
        ..Sources::default()
    });
    assert!(
        problems.to_string().contains("must end before its session"),
        "{problems}"
    );
}

/// OP-5
#[test]
fn the_reference_names_every_key_with_a_meaning() {
    let reference = reference();
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        assert!(reference.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        assert!(
            key.doc.iter().any(|line| line.len() > 10),
            "{} says what it means",
            key.name
        );
    }
    assert!(
        reference
            .lines()
            .filter(|line| line.starts_with('|'))
            .all(|line| line.ends_with('|'))
    );
}
