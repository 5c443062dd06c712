//! Which file imports which, and that no import leads back.
//!
//! One rule: a module and its own submodules are one unit, so imports between a module and what lies below it do
//! not count; every other import may only lead on. Re-exports are followed to the file that defines the name.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, sources};

/// A module's path from the root of its crate; the root itself is empty.
type ModulePath = Vec<String>;

/// The source folders of all crates of the workspace.
const CRATES: [&str; 14] = [
    "domain/src/",
    "domain/event-derive/src/",
    "domain/event-store/src/",
    "domain/objects/src/",
    "domain/outbound/src/",
    "domain/payload/src/",
    "domain/training-spec/src/",
    "projections/src/",
    "api/src/",
    "workers/src/",
    "workers/ml/src/",
    "ops/src/",
    "ops/xtask/src/",
    "tests/src/",
];

/// The modules of one crate and the names that each hands on.
struct Crate {
    code: BTreeMap<ModulePath, String>,
    reexports: BTreeMap<ModulePath, BTreeMap<String, Vec<String>>>,
}

/// The module that a file holds, from its path below the crate's source folder.
fn module_of(inside: &str) -> ModulePath {
    let mut parts: ModulePath = inside
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The code of a file up to its unit tests: they may look at everything.
fn product_code(text: &str) -> String {
    let code = code(text);
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code[..end].to_owned()
}

/// Every path of a `use` tree, with the name under which it is known afterwards.
fn paths_of_tree(tree: &str) -> Vec<(Vec<String>, String)> {
    fn expand(tree: &str, prefix: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let tree = tree.trim();
        if let Some(list) = tree.strip_prefix('{') {
            let list = list.strip_suffix('}').unwrap_or(list);
            for item in split_list(list) {
                expand(item, prefix, found);
            }
            return;
        }
        let (head, rest) = match tree.split_once("::") {
            Some((head, rest)) => (head.trim(), Some(rest)),
            None => (tree, None),
        };
        let (name, alias) = head.split_once(" as ").unwrap_or((head, head));
        let mut path = prefix.to_vec();
        path.push(name.trim().to_owned());
        match rest {
            Some(rest) => expand(rest, &path, found),
            None if !name.is_empty() => found.push((path, alias.trim().to_owned())),
            None => {}
        }
    }
    let mut found = Vec::new();
    expand(tree, &[], &mut found);
    found
}

/// The items of a list in braces, split at the commas that stand in no inner braces.
fn split_list(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    items.retain(|item| !item.trim().is_empty());
    items
}

/// The `use` items of a file, each with whether it hands its names on, and the code without them.
fn use_items(code: &str) -> (Vec<(bool, &str)>, String) {
    let (mut items, mut rest) = (Vec::new(), String::new());
    let mut at = 0;
    for (found, word) in code.match_indices("use ") {
        let line = code[..found].rfind('\n').map_or(0, |newline| newline + 1);
        let before = code[line..found].trim();
        let begins =
            before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')'));
        let end = code[found..].find(';').map(|end| found + end);
        if let (true, true, Some(end)) = (begins, line >= at, end) {
            items.push((!before.is_empty(), &code[found + word.len()..end]));
            rest.push_str(&code[at..line]);
            at = end + 1;
        }
    }
    rest.push_str(&code[at..]);
    (items, rest)
}

/// The paths in running code: words joined by `::`.
fn paths_in_code(code: &str) -> Vec<Vec<String>> {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    code.split(|letter| !is_path(letter))
        .filter(|text| text.contains("::"))
        .map(|text| {
            text.split("::")
                .map(str::to_owned)
                .filter(|part| !part.is_empty())
                .collect()
        })
        .collect()
}

impl Crate {
    fn read(folder: &str) -> Self {
        let mut code = BTreeMap::new();
        for source in sources() {
            let Some(inside) = source.path.strip_prefix(folder) else {
                continue;
            };
            let module = module_of(inside);
            if !module.iter().any(|part| part == "tests") {
                code.insert(module, product_code(&source.text));
            }
        }
        let reexports = code
            .iter()
            .map(|(module, code)| {
                let handed_on = use_items(code).0.into_iter().filter(|(handed_on, _)| *handed_on);
                let names = handed_on
                    .flat_map(|(_, tree)| paths_of_tree(tree))
                    .map(|(path, alias)| (alias, path));
                (module.clone(), names.collect())
            })
            .collect();
        Self { code, reexports }
    }

    /// A path as written in `module`, from the root of the crate; `None` when it leads out of it.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?.as_str();
        if first == "crate" {
            return Some(path[1..].to_vec());
        }
        let mut base = module.to_vec();
        let mut rest = path;
        if first == "self" {
            rest = &rest[1..];
        } else if first != "super" {
            base.push(first.to_owned());
            let known = self.code.contains_key(&base);
            return known.then(|| [module, path].concat());
        }
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The module that defines what an absolute path names.
    fn defining(&self, path: &[String], depth: usize) -> ModulePath {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.code.contains_key(&path[..*length]))
            .unwrap_or(0);
        let module = path[..length].to_vec();
        let handed_on = path
            .get(length)
            .and_then(|name| self.reexports.get(&module)?.get(name))
            .and_then(|target| self.absolute(&module, target));
        match handed_on {
            Some(target) if depth < 8 => self.defining(&[&target, &path[length + 1..]].concat(), depth + 1),
            _ => module,
        }
    }

    /// For each module, the modules that it imports from, without those above and below it.
    fn imports(&self) -> BTreeMap<&ModulePath, BTreeSet<ModulePath>> {
        let mut imports = BTreeMap::new();
        for (module, code) in &self.code {
            let (items, rest) = use_items(code);
            let mut paths: Vec<Vec<String>> = items
                .into_iter()
                .filter(|(handed_on, _)| !handed_on)
                .flat_map(|(_, tree)| paths_of_tree(tree))
                .map(|(path, _)| path)
                .collect();
            paths.extend(paths_in_code(&rest));
            let targets = paths
                .iter()
                .filter_map(|path| self.absolute(module, path))
                .map(|mut path| {
                    path.retain(|part| part != "self");
                    self.defining(&path, 0)
                })
                .filter(|target| !target.starts_with(module) && !module.starts_with(target))
                .collect();
            imports.insert(module, targets);
        }
        imports
    }
}

/// A way from `start` back to itself, if there is one: the shortest.
fn way_back(
    imports: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>,
    start: &ModulePath,
) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in imports.get(*way.last()?).into_iter().flatten() {
            if next == start {
                return Some(
                    way.iter()
                        .chain([&start])
                        .map(|module| module.join("::"))
                        .collect(),
                );
            }
            if seen.insert(next) {
                ways.push_back([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::{\n    a::{B, c::D as E},\n    f,\n};\npub(crate) use super::g::H;\nfn i() { crate::j::k(); }\n";
    let (items, rest) = use_items(code);
    assert_eq!(
        items.iter().map(|(handed_on, _)| *handed_on).collect::<Vec<_>>(),
        [false, true]
    );
    let paths: Vec<String> = paths_of_tree(items[0].1)
        .into_iter()
        .map(|(path, _)| path.join("::"))
        .collect();
    assert_eq!(paths, ["crate::a::B", "crate::a::c::D", "crate::f"]);
    assert_eq!(
        paths_in_code(&rest),
        [["crate", "j", "k"].map(str::to_owned).to_vec()]
    );
}

#[test]
fn a_circle_is_found_through_a_reexport() {
    let module = |path: &str| {
        path.split("::")
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let code = BTreeMap::from([
        (module(""), String::new()),
        (module("a"), String::new()),
        (module("a::inner"), "use crate::b::Thing;\n".to_owned()),
        (module("b"), "use crate::a::Shown;\n".to_owned()),
    ]);
    let reexports = BTreeMap::from([(
        module("a"),
        BTreeMap::from([("Shown".to_owned(), vec!["inner".to_owned(), "Shown".to_owned()])]),
    )]);
    let found = Crate { code, reexports };
    assert_eq!(
        way_back(&found.imports(), &module("b")),
        Some(["b", "a::inner", "b"].map(str::to_owned).to_vec())
    );
}

#[test]
fn no_import_leads_back_to_where_it_began() {
    let (mut circles, mut counted) = (BTreeMap::new(), 0);
    for folder in CRATES {
        let found = Crate::read(folder);
        let imports = found.imports();
        counted += imports.values().map(BTreeSet::len).sum::<usize>();
        for module in found.code.keys() {
            if let Some(way) = way_back(&imports, module) {
                circles.insert(format!("{folder} {}", module.join("::")), way.join(" -> "));
            }
        }
    }
    assert!(counted > 1_000, "only {counted} imports were found");
    assert!(circles.is_empty(), "break these circles: {circles:#?}");
}
