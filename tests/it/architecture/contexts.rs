//! The bounded contexts of the domain, its kernel, and the adapters of the event store.
//!
//! One rule: each can be understood after what it imports, and none leads back to itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, code, files, sources};

/// The bounded contexts, under the same word everywhere.
const CONTEXTS: [&str; 11] = [
    "access",
    "audit",
    "datasets",
    "identity",
    "inference",
    "jobs",
    "models",
    "notifications",
    "projects",
    "provider_keys",
    "sharing",
];

/// The first segments of all paths that begin with `crate::`, also of those in braces.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    for (at, begin) in code.match_indices("crate::") {
        let rest = &code[at + begin.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut fresh) = (1, true);
        for (index, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                letter if fresh && depth == 1 && !letter.is_whitespace() => {
                    found.insert(word(&list[index..]));
                    fresh = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn paths_of_imports_are_found_in_every_form() {
    let code = "use crate::{\n    access::{quota::Quota, role},\n    authz,\n    id::UserId,\n};\nuse crate::text::Label;\nlet x = crate::decision::LoadedState::default();";
    let found: Vec<String> = crate_paths(code).into_iter().collect();
    assert_eq!(found, ["access", "authz", "decision", "id", "text"]);
}

/// Contexts can be understood one after another: none leads back to itself.
#[test]
fn there_is_no_circle_between_the_contexts_of_the_domain() {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources() {
        let Some(inside) = source.path.strip_prefix("domain/src/") else {
            continue;
        };
        let Some(context) = CONTEXTS
            .iter()
            .find(|context| inside.starts_with(&format!("{context}/")))
        else {
            continue;
        };
        let used = crate_paths(&code(&source.text));
        let others = CONTEXTS
            .iter()
            .filter(|other| *other != context && used.contains(**other));
        edges.entry(context).or_default().extend(others);
    }
    assert!(
        edges.values().map(BTreeSet::len).sum::<usize>() > 5,
        "no edges were found: {edges:?}"
    );
    for start in CONTEXTS {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(context) = open.pop() {
            for next in edges.get(context).into_iter().flatten() {
                assert_ne!(
                    *next, start,
                    "{start} leads to {context}, and {context} back to {start}: {edges:?}"
                );
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
    }
}

/// What stands beside the kernel's files, and above the contexts: policies over roles and accounts.
const POLICIES: [&str; 3] = [
    "domain/src/administrators.rs",
    "domain/src/rights.rs",
    "domain/src/shared.rs",
];

/// The kernel is what every context stands on, so it can stand on none of them.
#[test]
fn the_kernel_of_the_domain_imports_no_context() {
    let is_kernel = |inside: &str| {
        let folders = ["authz/", "bounded/", "execute/", "personal/"];
        !inside.contains('/') || folders.iter().any(|folder| inside.starts_with(folder))
    };
    let kernel = |source: &Source| {
        source.path.strip_prefix("domain/src/").is_some_and(is_kernel)
            && !POLICIES.contains(&source.path.as_str())
    };
    let (mut searched, mut found) = (0, Vec::new());
    for source in sources().iter().filter(|source| kernel(source)) {
        searched += 1;
        let used = crate_paths(&code(&source.text));
        if CONTEXTS.iter().any(|context| used.contains(*context)) {
            found.push(source.path.clone());
        }
    }
    assert!(searched > 10, "the kernel was not found");
    assert!(found.is_empty(), "these import a context: {found:?}");
}

/// An adapter of the event store can be taken away without the others noticing.
#[test]
fn adapters_of_the_event_store_do_not_import_each_other() {
    let adapters = ["postgres", "kurrentdb", "memory"];
    let mut found = Vec::new();
    for adapter in adapters {
        let folder = format!("domain/event-store/src/{adapter}/");
        let all = sources();
        let files: Vec<&Source> = all
            .iter()
            .filter(|source| source.path.starts_with(&folder))
            .collect();
        assert!(!files.is_empty(), "{folder} holds no source");
        for source in files {
            let used = crate_paths(&code(&source.text));
            if adapters
                .iter()
                .any(|other| *other != adapter && used.contains(*other))
            {
                found.push(source.path.clone());
            }
        }
    }
    assert!(found.is_empty(), "these import another adapter: {found:?}");
}

/// All folders of the domain are contexts or known as shared.
#[test]
fn every_folder_of_the_domain_is_a_context() {
    let folders: BTreeSet<String> = files()
        .iter()
        .filter_map(|path| path.strip_prefix("domain/src/")?.split_once('/'))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    let known: BTreeSet<String> = CONTEXTS
        .iter()
        .chain(&["authz", "bounded", "event_registry", "execute", "personal"])
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(folders, known);
}
