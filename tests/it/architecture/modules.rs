//! Modules that are entered through one file, and modules that do not know of each other.
//!
//! One rule: a part that could be a crate of its own behaves like one.

use super::{code, names, sources};

/// Parts that are entered through their `mod.rs` only.
const ONE_ENTRANCE: [&str; 3] = ["ops/src/postgres/", "ops/src/demo/", "ops/src/verify/"];

/// Folders of `workers`, and the folders beside them that they do not know.
const UNKNOWN_TO: [(&str, &[&str]); 3] = [
    (
        "workers/src/lease/",
        &["attempt", "child", "registration", "worker"],
    ),
    (
        "workers/src/child/",
        &["attempt", "lease", "registration", "worker"],
    ),
    ("workers/src/registration/", &["attempt", "worker"]),
];

#[test]
fn the_embedded_postgresql_the_demonstration_and_the_verifier_have_one_entrance_each() {
    let sources = sources();
    for part in ONE_ENTRANCE {
        let entrance = format!("{part}mod.rs");
        let entrance = sources.iter().find(|source| source.path == entrance);
        let entrance = code(&entrance.expect("the part has an entrance").text);
        let modules: Vec<&str> = entrance
            .lines()
            .filter(|line| line.ends_with(';') && names(line, "mod"))
            .collect();
        assert!(modules.len() > 3, "{part}: {modules:?}");
        for module in modules {
            assert!(
                module.starts_with("mod "),
                "{part}: {module} is a second entrance"
            );
        }
    }
}

#[test]
fn the_subjects_of_workers_build_on_each_other_in_one_direction() {
    let sources = sources();
    for (folder, unknown) in UNKNOWN_TO {
        let files = sources.iter().filter(|source| source.path.starts_with(folder));
        let mut searched = 0;
        for source in files {
            searched += 1;
            let code = code(&source.text);
            for module in unknown {
                let named = ["crate::", "super::super::"].map(|root| format!("{root}{module}"));
                assert!(
                    !named.iter().any(|path| names(&code, path)) && !imports_from_root(&code, module),
                    "{} knows `{module}`",
                    source.path
                );
            }
        }
        assert!(searched > 1, "{folder} has no files");
    }
}

/// Whether a `use crate::{…}` names `module` as its first part.
fn imports_from_root(code: &str, module: &str) -> bool {
    code.split("use crate::{").skip(1).any(|list| {
        let mut depth = 0;
        let mut first = String::new();
        let mut firsts = Vec::new();
        for letter in list.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => firsts.push(std::mem::take(&mut first)),
                letter if depth == 0 => first.push(letter),
                _ => {}
            }
        }
        firsts.push(first);
        firsts
            .iter()
            .any(|path| path.trim().split("::").next() == Some(module))
    })
}

#[test]
fn modules_are_found_in_lists_of_imports() {
    let code = "use crate::{\n    folders::AttemptFolder,\n    lease::{heartbeat, queue},\n};";
    assert!(imports_from_root(code, "lease") && imports_from_root(code, "folders"));
    assert!(!imports_from_root(code, "queue") && !imports_from_root(code, "heartbeat"));
}
