//! Every permission of the catalogue is required by something, or named here with the requirement that will.
//!
//! One rule: the list of what is not required yet may only shrink, and each line of it is true.

use std::{collections::BTreeSet, path::Path};

use domain::authz::Action;

/// Permissions that nothing requires yet, and the requirement of the specification that will.
const NOT_YET: [(&str, &str); 37] = [
    ("users.create", "ID-7"),
    ("users.invite", "IN-1"),
    ("roles.create", "AC-1"),
    ("roles.update", "AC-1"),
    ("roles.delete", "AC-1"),
    ("projects.update", "PR-1"),
    ("projects.delete", "PR-1"),
    ("experiments.update", "PR-2"),
    ("experiments.delete", "PR-2"),
    ("datasets.delete", "OP-10"),
    ("models.delete", "OP-10"),
    ("models.deploy", "MO-5"),
    ("training.delete", "OP-10"),
    ("training.distributed", "JB-10"),
    ("hybrid_training.create", "HY-1"),
    ("hybrid_training.read", "HY-1"),
    ("hybrid_training.update", "HY-1"),
    ("hybrid_training.delete", "HY-1"),
    ("hpo.create", "JB-7"),
    ("hpo.read", "JB-7"),
    ("hpo.update", "JB-7"),
    ("external_apis.create", "PK-1"),
    ("external_apis.read", "PK-1"),
    ("external_apis.update", "PK-1"),
    ("external_apis.delete", "PK-1"),
    ("external_apis.share", "PK-10"),
    ("provider_keys.shared.read", "PK-4"),
    ("provider_keys.shared.manage", "PK-4"),
    ("api.access", "ID-6"),
    ("api.key_management", "ID-6"),
    ("notifications.manage", "NO-2"),
    ("organizations.read", "ID-1"),
    ("organizations.update", "ID-1"),
    ("organizations.stats", "ID-1"),
    ("audit.export", "AU-2"),
    ("system.config", "OP-5"),
    ("system.logs", "OP-13"),
];

/// The crates that require permissions. The catalogue itself, the built-in roles and what is generated of them do not.
const REQUIRING: [&str; 4] = ["domain/src", "projections/src", "api/src", "ops/src"];
const LISTING: [&str; 3] = ["authz/action.rs", "access/builtin.rs", "contracts/permissions.rs"];

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !LISTING.iter().any(|listing| name.ends_with(listing)) {
            let text = std::fs::read_to_string(&path).expect("a source");
            // Unit tests stand at the end, and require nothing.
            found.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
}

/// The actions that the code names, by variant.
fn named() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts = Vec::new();
    REQUIRING
        .iter()
        .for_each(|folder| sources(&root.join(folder), &mut texts));
    let variants = texts.iter().flat_map(|text| text.split("Action::").skip(1));
    let name = |rest: &str| {
        rest.chars()
            .take_while(|letter| letter.is_alphanumeric())
            .collect::<String>()
    };
    variants.map(name).collect()
}

#[test]
fn every_permission_is_required_by_something_or_named_as_not_yet() {
    let named = named();
    let required = |action: &Action| named.contains(&format!("{action:?}"));
    let unused: BTreeSet<&str> = Action::ALL
        .iter()
        .filter(|action| !required(action))
        .map(|action| action.name())
        .collect();
    let not_yet: BTreeSet<&str> = NOT_YET.iter().map(|(name, _)| *name).collect();
    assert_eq!(unused, not_yet);
    let id = |id: &str| {
        id.split_once('-')
            .is_some_and(|(part, number)| part.len() == 2 && number.parse::<u8>().is_ok())
    };
    assert!(NOT_YET.iter().all(|(_, requirement)| id(requirement)));
}
