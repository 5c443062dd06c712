//! The contracts in `schema/` match the program, and old events stay readable.

use std::{collections::BTreeSet, path::PathBuf};

use anneal::contracts;
use domain::{aggregate::Aggregate, event_registry};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

#[test]
fn the_contracts_in_the_repository_are_up_to_date() {
    let differences = contracts::check(&root().join("schema")).expect("readable contracts");
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(
        list.is_empty(),
        "run `cargo xtask bless` and look at the difference:\n{}",
        list.join("\n")
    );
}

/// Every file in the folder of golden payloads still decodes; a payload that this build writes comes back
/// as it is. (`contracts::check` says the same; this one names the event and the reason.)
#[test]
fn every_golden_payload_is_read_by_this_build() {
    let folder = root().join("schema/events");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).expect("golden payloads") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut parts = name.split('.');
        let kind = format!(
            "{}.{}",
            parts.next().expect("a context"),
            parts.next().expect("an event")
        );
        let version = parts
            .next()
            .and_then(|version| version.strip_prefix('v'))
            .expect("a version");
        let text = std::fs::read_to_string(&path).expect("readable");
        let payload = serde_json::from_str(&text).expect("JSON");
        event_registry::reread(&kind, version.parse().expect("a number"), &payload)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        read += 1;
    }
    assert!(
        read >= event_registry::samples().expect("samples").len(),
        "some payload is missing: {read}"
    );
}

/// The names of the event types that the registry goes over.
#[derive(Default)]
struct Listed(BTreeSet<String>);

impl event_registry::Visitor for Listed {
    fn visit<A: Aggregate>(&mut self) {
        let name = std::any::type_name::<A::Event>();
        self.0.insert(name.rsplit("::").next().unwrap_or(name).to_owned());
    }
}

/// The names of the event types that a file declares. Those of unit tests stand deeper, and are never recorded.
fn declared(text: &str) -> impl Iterator<Item = String> {
    let items = text.split("\n#[event(").skip(1);
    let names = items.filter_map(|rest| rest.split_once("enum ")?.1.split_whitespace().next());
    names.map(str::to_owned)
}

/// Every source file below one of these folders, and its text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                found.push((path, text));
            }
        }
    }
    found
}

/// No event type of the source is missing in the registry as a whole. That each of its kinds has a sample is checked by
/// the compiler.
#[test]
fn every_event_type_in_the_source_is_in_the_registry() {
    let mut listed = Listed::default();
    event_registry::visit(&mut listed);
    let mut found = BTreeSet::new();
    for (path, text) in sources(&["domain/src"]) {
        let path = path.display();
        assert!(
            !text.contains("\nimpl Event for "),
            "{path}: declare it by its attribute"
        );
        found.extend(declared(&text));
    }
    assert_eq!(found, listed.0);
}

/// Every kind that the registry declares has a golden payload in the version that this build writes.
#[test]
fn every_declared_kind_has_a_golden_payload() {
    let folder = root().join("schema/events");
    for fields in event_registry::declarations() {
        let name = format!("{}.v{}.json", fields.kind, fields.version);
        assert!(folder.join(&name).exists(), "{name} is missing");
    }
}

/// Who picks out events by their kind names kinds that are there: a wrong name would match nothing, without a word.
#[test]
fn every_kind_that_the_source_names_is_declared() {
    let known: BTreeSet<&str> = event_registry::declarations().map(|fields| fields.kind).collect();
    let contexts: BTreeSet<&str> = known.iter().filter_map(|kind| kind.split('.').next()).collect();
    let is_kind = |literal: &str| {
        let Some((context, name)) = literal.split_once('.') else {
            return false;
        };
        let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric());
        contexts.contains(context) && is_name
    };
    let folders = [
        "projections/src",
        "api/src",
        "workers/src",
        "ops/src",
        "tests/src",
    ];
    let (mut named, mut wrong) = (0, Vec::new());
    let product = |(path, _): &(PathBuf, String)| !path.ends_with("tests.rs");
    for (path, text) in sources(&folders).into_iter().filter(product) {
        for literal in text.split('"').filter(|literal| is_kind(literal)) {
            named += 1;
            if !known.contains(literal) {
                wrong.push(format!("{}: {literal}", path.display()));
            }
        }
    }
    assert!(named > 10, "nothing was found: {named}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// GQ-3: the client tools that take the schema (`cargo xtask peers graphql-clients`) are told every scalar of ours.
#[test]
fn the_client_tools_know_every_scalar() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a readable file");
    let schema = read("schema/schema.graphql");
    let scalars: Vec<&str> = schema
        .lines()
        .filter_map(|line| line.strip_prefix("scalar ")?.split(' ').next())
        .collect();
    assert!(scalars.len() >= 4, "{scalars:?}");
    for config in ["relay.config.json", "codegen.ts"] {
        let config = read(&format!("tests/peers/graphql-clients/{config}")).replace('"', "");
        for scalar in &scalars {
            assert!(
                config.contains(&format!("{scalar}: ")),
                "{scalar} is not in {config}"
            );
        }
    }
}
