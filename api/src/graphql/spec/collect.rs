//! Fields with one response key are one field (6.3.2 `CollectFields`, 6.4.3 `MergeSelectionSets`).
//!
//! The library runs each of them for itself and lays the answers over each other: a mutation written twice is
//! done twice, lists of lists lose fields, and a null in the one does not reach the other. It also takes an
//! omitted variable for null. So a document of that kind is rewritten: without fragments and directives, each
//! field once with all that is selected below it, arguments with omitted variables left out.
//!
//! One rule: the walk is linear in the document with its fragments spread, which the guard has measured; under
//! interfaces and unions the rewritten document may be longer, and has a bound of its own.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, InlineFragment, OperationDefinition,
    OperationType, Selection, SelectionSet, TypeCondition,
};
use async_graphql::{Name, Positioned, ServerError, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::omitted::given;
use super::types::{TypeSystem, named};
use super::{refusal, root_of, shape};

/// Puts `__typename @skip(…)` into an inline fragment with the directives: the library does not see directives on
/// `__typename` and takes their variables for unused.
pub(super) fn wrap_typenames(document: &mut ExecutableDocument) {
    let fragments = document
        .fragments
        .values_mut()
        .map(|fragment| &mut fragment.node.selection_set);
    fragments.for_each(|set| wrap_in(&mut set.node));
    match &mut document.operations {
        DocumentOperations::Single(operation) => wrap_in(&mut operation.node.selection_set.node),
        DocumentOperations::Multiple(operations) => {
            let sets = operations
                .values_mut()
                .map(|operation| &mut operation.node.selection_set);
            sets.for_each(|set| wrap_in(&mut set.node));
        }
    }
}

fn wrap_in(set: &mut SelectionSet) {
    for Positioned { node: selection, pos } in &mut set.items {
        match selection {
            Selection::Field(field)
                if field.node.name.node == "__typename" && !field.node.directives.is_empty() =>
            {
                let directives = std::mem::take(&mut field.node.directives);
                let items = vec![Positioned::new(Selection::Field(field.clone()), *pos)];
                let fragment = InlineFragment {
                    type_condition: None,
                    directives,
                    selection_set: Positioned::new(SelectionSet { items }, *pos),
                };
                *selection = Selection::InlineFragment(Positioned::new(fragment, *pos));
            }
            Selection::Field(field) => wrap_in(&mut field.node.selection_set.node),
            Selection::InlineFragment(fragment) => wrap_in(&mut fragment.node.selection_set.node),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// Fields that a rewritten document may have.
const FIELDS: usize = 10_000;

/// The selection set to run in the place of an operation's own, if it has to be another or `always` says so.
///
/// # Errors
/// When fields with one response key differ, or when the rewritten document is too long.
pub(super) fn collect(
    types: &TypeSystem,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
    always: bool,
) -> Result<Option<SelectionSet>, Vec<ServerError>> {
    let operation = &operation.node;
    let Some(root) = root_of(types, operation.ty) else {
        return Ok(None);
    };
    let set = &operation.selection_set.node;
    shape::check(types, document, vec![(Some(root), set)]).map_err(|error| vec![error])?;
    let mut collector = Collector {
        types,
        document,
        variables,
        changed: always,
        left: FIELDS,
    };
    let items = collector.merged(root, &[set]).map_err(|error| vec![error])?;
    if operation.ty == OperationType::Subscription {
        // The library looks for a subscription's field in the set itself only.
        collector.changed |=
            !matches!(set.items.as_slice(), [only] if matches!(only.node, Selection::Field(_)));
    }
    Ok(collector.changed.then_some(SelectionSet { items }))
}

/// Refuses a subscription that selects other than one field, or a field of introspection (5.2.3.1).
///
/// # Errors
/// One, whatever else is wrong with the document.
pub(super) fn one_root(
    types: &TypeSystem,
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
) -> Result<(), ServerError> {
    let root = root_of(types, OperationType::Subscription);
    let (OperationType::Subscription, Some(root)) = (operation.node.ty, root) else {
        return Ok(());
    };
    let collector = Collector {
        types,
        document,
        variables,
        changed: false,
        left: FIELDS,
    };
    let mut found = Vec::new();
    let on = Rc::new(types.possible(root));
    collector.flatten(&operation.node.selection_set.node, &on, &mut found);
    let keys: BTreeSet<_> = found
        .iter()
        .map(|found| found.field.node.response_key().node.as_str())
        .collect();
    let introspection = |found: &Found<'_>| found.field.node.name.node.starts_with("__");
    let what = if found.iter().any(introspection) {
        "must not select an introspection top level field."
    } else if keys.len() != 1 {
        "must select exactly one top level field."
    } else {
        return Ok(());
    };
    let mut operations = document.operations.iter();
    let named = operations.find(|(_, other)| std::ptr::eq(*other, operation));
    let called = named.and_then(|(name, _)| name).map_or_else(
        || "Anonymous Subscription".to_owned(),
        |name| format!("Subscription \"{name}\""),
    );
    Err(refusal(format!("{called} {what}"), operation.pos))
}

/// A field and the objects on which it is selected.
struct Found<'a> {
    field: &'a Positioned<Field>,
    on: Rc<Vec<&'a str>>,
}

struct Collector<'a> {
    types: &'a TypeSystem,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// Whether the rewritten document would run otherwise than the client's.
    changed: bool,
    left: usize,
}

impl<'a> Collector<'a> {
    /// The one selection set that several on a type make.
    fn merged(
        &mut self,
        parent: &'a str,
        sets: &[&'a SelectionSet],
    ) -> Result<Vec<Positioned<Selection>>, ServerError> {
        let all = Rc::new(self.types.possible(parent));
        let mut found = Vec::new();
        for set in sets {
            self.flatten(set, &all, &mut found);
        }
        if found.iter().all(|found| found.on.len() == all.len()) {
            return self.grouped(parent, found.iter().map(|found| found.field));
        }
        let mut items = Vec::with_capacity(all.len());
        for object in all.iter().copied() {
            let here = found
                .iter()
                .filter(|found| found.on.contains(&object))
                .map(|found| found.field);
            let selected = self.grouped(object, here)?;
            if let Some(first) = selected.first() {
                items.push(Positioned::new(
                    Selection::InlineFragment(on(object, first.pos, selected.clone())),
                    first.pos,
                ));
            }
        }
        Ok(items)
    }

    /// The fields of a set, its fragments spread and what is skipped left out.
    fn flatten(&self, set: &'a SelectionSet, on: &Rc<Vec<&'a str>>, found: &mut Vec<Found<'a>>) {
        for selection in &set.items {
            if self.skipped(selection.node.directives()) {
                continue;
            }
            let (condition, set) = match &selection.node {
                Selection::Field(field) => {
                    found.push(Found {
                        field,
                        on: Rc::clone(on),
                    });
                    continue;
                }
                Selection::InlineFragment(fragment) => (
                    fragment.node.type_condition.as_ref(),
                    &fragment.node.selection_set.node,
                ),
                Selection::FragmentSpread(spread) => {
                    let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) else {
                        continue;
                    };
                    (
                        Some(&fragment.node.type_condition),
                        &fragment.node.selection_set.node,
                    )
                }
            };
            let narrowed = condition.map_or_else(|| Rc::clone(on), |condition| self.narrow(on, condition));
            if !narrowed.is_empty() {
                self.flatten(set, &narrowed, found);
            }
        }
    }

    fn narrow(&self, on: &Rc<Vec<&'a str>>, condition: &'a Positioned<TypeCondition>) -> Rc<Vec<&'a str>> {
        let possible = self.types.possible(condition.node.on.node.as_str());
        Rc::new(
            on.iter()
                .copied()
                .filter(|object| possible.contains(object))
                .collect(),
        )
    }

    /// Whether `@skip` or `@include` leave a selection out (3.13); their variables are coerced.
    fn skipped(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().any(|directive| {
            let include = match directive.node.name.node.as_str() {
                "skip" => false,
                "include" => true,
                _ => return false,
            };
            let condition = match directive.node.get_argument("if").map(|value| &value.node) {
                Some(Value::Boolean(condition)) => Some(*condition),
                Some(Value::Variable(name)) => match self.variables.get(name) {
                    Some(ConstValue::Boolean(condition)) => Some(*condition),
                    _ => None,
                },
                _ => None,
            };
            condition.is_some_and(|condition| condition != include)
        })
    }

    /// One field for each response key, in the order in which the keys come first.
    fn grouped(
        &mut self,
        parent: &'a str,
        fields: impl Iterator<Item = &'a Positioned<Field>>,
    ) -> Result<Vec<Positioned<Selection>>, ServerError> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<(&Positioned<Field>, Vec<&'a SelectionSet>)> = Vec::new();
        for field in fields {
            let key = field.node.response_key().node.as_str();
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                None => groups.push((field, vec![&field.node.selection_set.node])),
                Some((first, sets)) => {
                    same_field(first, field, key)?;
                    self.changed |= field.node.name.node != "__typename";
                    sets.push(&field.node.selection_set.node);
                }
            }
        }
        // A subscription holds its document for hours, so it gets no more room than it fills.
        let mut merged = Vec::with_capacity(groups.len());
        for (field, sets) in groups {
            let node = self.field(parent, &field.node, &sets)?;
            let selection = Selection::Field(Positioned::new(node, field.pos));
            merged.push(Positioned::new(selection, field.pos));
        }
        Ok(merged)
    }

    fn field(
        &mut self,
        parent: &'a str,
        field: &'a Field,
        sets: &[&'a SelectionSet],
    ) -> Result<Field, ServerError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let mut error = refusal(
                format!("the document has more than {FIELDS} fields, its fragments spread over all types"),
                field.name.pos,
            );
            error
                .extensions
                .get_or_insert_default()
                .set("code", "QUERY_TOO_LARGE");
            error
        })?;
        let known = self.types.field(parent, field.name.node.as_str());
        // Below the introspection fields nothing is known, and nothing is of several types.
        let ty = known.map_or(UNKNOWN, |known| named(&known.ty));
        let items = self.merged(ty, sets)?;
        let arguments = field.arguments.iter().filter_map(|(name, value)| {
            let given = given(self.variables, &value.node)?;
            Some((name.clone(), Positioned::new(given, value.pos)))
        });
        let arguments: Vec<_> = arguments.collect();
        let own = |directive: &&Positioned<Directive>| {
            !matches!(directive.node.name.node.as_str(), "skip" | "include")
        };
        self.changed |= arguments.len() != field.arguments.len() || arguments != field.arguments;
        Ok(Field {
            alias: field.alias.clone(),
            name: field.name.clone(),
            arguments,
            directives: field.directives.iter().filter(own).cloned().collect(),
            selection_set: Positioned::new(SelectionSet { items }, field.selection_set.pos),
        })
    }
}

/// The name of a type that the schema does not know.
const UNKNOWN: &str = "";

/// Whether two fields ask for the same (5.3.2, `FieldsInSetCanMerge`).
fn same_field(one: &Positioned<Field>, other: &Positioned<Field>, key: &str) -> Result<(), ServerError> {
    let same_arguments = one.node.arguments.len() == other.node.arguments.len()
        && one.node.arguments.iter().all(|(name, value)| {
            other
                .node
                .get_argument(&name.node)
                .is_some_and(|other| other.node == value.node)
        });
    if one.node.name.node == other.node.name.node && same_arguments {
        return Ok(());
    }
    let message =
        format!("Fields \"{key}\" conflict because they are different fields or have differing arguments.");
    Err(refusal(message, other.pos))
}

fn on(object: &str, at: async_graphql::Pos, items: Vec<Positioned<Selection>>) -> Positioned<InlineFragment> {
    let condition = TypeCondition {
        on: Positioned::new(Name::new(object), at),
    };
    let fragment = InlineFragment {
        type_condition: Some(Positioned::new(condition, at)),
        directives: Vec::new(),
        selection_set: Positioned::new(SelectionSet { items }, at),
    };
    Positioned::new(fragment, at)
}
