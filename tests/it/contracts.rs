//! The contracts in `schema/` match the program, and old events stay readable.

use std::{collections::BTreeSet, path::PathBuf};

use anneal::contracts;
use domain::event_registry;

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

/// No event of the source is missing in the catalogue as a whole: every stable name has a sample. Events of unit
/// tests are called `test.…` and never recorded.
#[test]
fn every_event_name_in_the_source_has_a_golden_payload() {
    let known: BTreeSet<String> = event_registry::samples()
        .expect("samples")
        .into_iter()
        .map(|sample| sample.kind)
        .collect();
    let mut named = BTreeSet::new();
    let mut open = vec![root().join("domain/src")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("readable");
                let names = text
                    .split("serde(rename = \"")
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next());
                let events = names.filter(|name| name.contains('.') && !name.starts_with("test."));
                named.extend(events.map(str::to_owned));
            }
        }
    }
    assert_eq!(named, known);
}
