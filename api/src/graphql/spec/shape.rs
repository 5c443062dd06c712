//! Whether fields with one response key have one shape of answer (5.3.2, `SameResponseShape`).

use std::collections::HashMap;

use async_graphql::parser::types::{BaseType, ExecutableDocument, Field, Selection, SelectionSet, Type};
use async_graphql::{Positioned, ServerError};

use super::refusal;
use super::types::{TypeSystem, named};

/// Selection sets whose fields stand beside each other in the answer, each with the type it is on.
type Sets<'a> = Vec<(Option<&'a str>, &'a SelectionSet)>;

/// Fields with one response key, each with its type where that is known.
type Group<'a> = Vec<(&'a Positioned<Field>, Option<&'a Type>)>;

/// Checks sets that are merged, and everything below them.
///
/// # Errors
/// At the first two fields that differ.
pub(super) fn check<'a>(
    types: &'a TypeSystem,
    document: &'a ExecutableDocument,
    sets: Sets<'a>,
) -> Result<(), ServerError> {
    let mut groups: HashMap<&str, Group<'a>> = HashMap::new();
    for (parent, set) in sets {
        gather(types, document, parent, set, &mut groups);
    }
    for (key, group) in groups {
        let mut known = group.iter().filter_map(|(field, ty)| Some((field, (*ty)?)));
        if let Some((_, first)) = known.next()
            && let Some((field, _)) = known.find(|(_, ty)| !same(types, first, ty))
        {
            let message = format!("Fields \"{key}\" conflict because they return conflicting types.");
            return Err(refusal(message, field.pos));
        }
        let below: Sets<'a> = group
            .iter()
            .filter(|(field, _)| !field.node.selection_set.node.items.is_empty())
            .map(|(field, ty)| (ty.map(named), &field.node.selection_set.node))
            .collect();
        if !below.is_empty() {
            check(types, document, below)?;
        }
    }
    Ok(())
}

fn gather<'a>(
    types: &'a TypeSystem,
    document: &'a ExecutableDocument,
    parent: Option<&'a str>,
    set: &'a SelectionSet,
    groups: &mut HashMap<&'a str, Group<'a>>,
) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                let known = parent.and_then(|parent| types.field(parent, field.node.name.node.as_str()));
                let key = field.node.response_key().node.as_str();
                groups
                    .entry(key)
                    .or_default()
                    .push((field, known.map(|known| &known.ty)));
            }
            Selection::InlineFragment(fragment) => {
                let on = fragment.node.type_condition.as_ref();
                let on = on.map(|condition| condition.node.on.node.as_str());
                gather(
                    types,
                    document,
                    on.or(parent),
                    &fragment.node.selection_set.node,
                    groups,
                );
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    let on = fragment.node.type_condition.node.on.node.as_str();
                    gather(
                        types,
                        document,
                        Some(on),
                        &fragment.node.selection_set.node,
                        groups,
                    );
                }
            }
        }
    }
}

fn same(types: &TypeSystem, one: &Type, other: &Type) -> bool {
    one.nullable == other.nullable
        && match (&one.base, &other.base) {
            (BaseType::List(one), BaseType::List(other)) => same(types, one, other),
            (BaseType::Named(one), BaseType::Named(other)) => {
                one == other || !(types.is_leaf(one) || types.is_leaf(other))
            }
            _ => false,
        }
}
