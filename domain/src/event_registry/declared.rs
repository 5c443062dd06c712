//! What is declared of each kind, found by its name.
//!
//! One rule: all of it is said where the event type stands ([`crate::aggregate::event`]).

use std::{collections::HashMap, sync::OnceLock};

use super::list::kinds;
use crate::personal::KindFields;

/// What every kind that this build records declares of its fields, in the order of the contexts.
pub fn declarations() -> impl Iterator<Item = &'static KindFields> {
    kinds().map(|kind| kind.fields)
}

/// What `kind` declares of its fields; `None` when this build knows no such kind.
#[must_use]
pub fn declaration(kind: &str) -> Option<&'static KindFields> {
    static BY_KIND: OnceLock<HashMap<&'static str, &'static KindFields>> = OnceLock::new();
    let by_kind = BY_KIND.get_or_init(|| declarations().map(|fields| (fields.kind, fields)).collect());
    by_kind.get(kind).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{declaration, declarations};
    use crate::{
        event_registry::samples,
        personal::{leaves, names, visit},
    };

    /// The leaves of each kind, over all its samples.
    fn sampled() -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sample in samples().expect("samples can be written") {
            all.entry(sample.kind)
                .or_default()
                .extend(leaves(&sample.payload));
        }
        all
    }

    /// Whether a sample has the leaf, or the object that is a leaf where it is null.
    fn exists(pattern: &str, leaf: &str) -> bool {
        names(pattern, leaf)
            || leaf
                .strip_prefix(pattern)
                .is_some_and(|rest| rest.starts_with('.'))
    }

    /// AU-7: a field that nobody has judged fails here.
    #[test]
    fn every_leaf_is_declared_once_and_every_declared_leaf_exists() {
        let mut faults = Vec::new();
        for (kind, leaves) in &sampled() {
            let Some(fields) = declaration(kind) else {
                faults.push(format!("{kind} declares nothing"));
                continue;
            };
            let listed = || fields.personal.iter().chain(fields.plain);
            for leaf in leaves {
                let times = listed().filter(|pattern| names(pattern, leaf)).count();
                if times != 1 {
                    faults.push(format!(
                        "{kind}: {leaf} is declared {times} times, as personal or plain"
                    ));
                }
            }
            for pattern in listed().filter(|pattern| !leaves.iter().any(|leaf| exists(pattern, leaf))) {
                faults.push(format!("{kind}: {pattern} is declared, and no sample has it"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn every_declared_kind_is_recorded_by_this_build_and_declared_once() {
        let declared: Vec<&str> = declarations().map(|fields| fields.kind).collect();
        let once: BTreeSet<&str> = declared.iter().copied().collect();
        assert_eq!(once.len(), declared.len());
        let known = sampled();
        let known: BTreeSet<&str> = known.keys().map(String::as_str).collect();
        assert_eq!(once, known);
    }

    /// What is sealed is a string, and there is somebody whose it is.
    #[test]
    fn personal_leaves_are_strings_of_somebody() {
        let mut seen = 0;
        for mut sample in samples().expect("samples can be written") {
            let fields = declaration(&sample.kind).expect("declared");
            assert!(
                fields.personal.is_empty() || fields.subject != crate::personal::Subject::Nobody,
                "{}",
                sample.kind
            );
            for pattern in fields.personal {
                let checked: Result<(), String> =
                    visit(&mut sample.payload, pattern, &str::to_owned, &mut |_, _| {
                        seen += 1;
                        Ok(())
                    });
                assert_eq!(checked, Ok(()), "{}", sample.kind);
            }
        }
        assert!(seen >= 10, "{seen}");
    }

    /// Versions before the current one each have their step and their personal leaves.
    #[test]
    fn earlier_versions_are_complete() {
        for fields in declarations() {
            let earlier: Vec<u16> = fields.earlier.iter().map(|one| one.version).collect();
            assert_eq!(
                earlier,
                (1..fields.version).collect::<Vec<u16>>(),
                "{}",
                fields.kind
            );
            assert!(fields.version >= 1);
        }
        assert!(declaration("nothing.Known").is_none());
    }
}
