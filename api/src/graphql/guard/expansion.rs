//! What a parsed document grows to when its fragments are spread, without spreading them.
//!
//! One rule: each fragment is measured once and its measure is reused, so the walk is linear in the text
//! where validators and executor may be exponential in it.

use std::collections::HashMap;

use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection, SelectionSet};

use super::{Limits, Refusal};

/// The measures of one selection set with everything below it.
#[derive(Clone, Copy, Default)]
struct Measure {
    /// Fields, expanded.
    fields: u64,
    /// Fields of this very level, expanded.
    roots: u64,
    /// Aliased fields, expanded.
    aliases: u64,
    /// Directives, expanded.
    directives: u64,
    /// Fields on the longest path.
    depth: u64,
    /// Selection sets on the longest path; fragments and spreads count, for they recurse like fields.
    nesting: u64,
    /// Introspection lists on one path, counted wherever fields have their names.
    lists: u64,
    /// The same, below `__schema` or `__type` only.
    introspection_lists: u64,
}

impl Measure {
    /// Takes in a neighbour: what is counted adds up, what is long keeps the longer.
    fn beside(&mut self, other: Self) {
        self.fields = self.fields.saturating_add(other.fields);
        self.roots = self.roots.saturating_add(other.roots);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.lists = self.lists.max(other.lists);
        self.introspection_lists = self.introspection_lists.max(other.introspection_lists);
    }
}

/// What is known of a fragment while the document is walked.
enum Known {
    /// It is being measured: to meet it again is a cycle.
    Open,
    /// It is measured.
    Done(Measure),
}

/// Refuses documents over the limits and documents whose fragments form a cycle.
///
/// Operations that are not selected and fragments that are not used count too, because validation
/// visits them all.
pub(super) fn check(document: &ExecutableDocument, limits: &Limits) -> Result<(), Refusal> {
    at_most(
        document.fragments.len() as u64,
        limits.fragments as u64,
        "fragments",
    )?;
    at_most(
        document.operations.iter().count() as u64,
        limits.operations as u64,
        "operations",
    )?;
    let mut walk = Walk {
        document,
        limits,
        known: HashMap::new(),
    };
    let mut whole = Measure::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let measure = walk.selection_set(&operation.selection_set.node, 1)?;
        if operation.ty == OperationType::Mutation {
            at_most(
                measure.roots,
                limits.mutation_roots,
                "root fields in a mutation, fragments spread",
            )?;
        }
        whole.beside(measure);
        let on_variables: usize = operation
            .variable_definitions
            .iter()
            .map(|v| v.node.directives.len())
            .sum();
        let own = (operation.directives.len() + on_variables) as u64;
        whole.directives = whole.directives.saturating_add(own);
        walk.within(&whole)?;
    }
    for name in document.fragments.keys() {
        let measure = walk.fragment(name.as_str(), 1)?;
        walk.within(&measure)?;
    }
    Ok(())
}

/// One walk over a document.
struct Walk<'a> {
    document: &'a ExecutableDocument,
    limits: &'a Limits,
    known: HashMap<&'a str, Known>,
}

impl<'a> Walk<'a> {
    /// Measures a selection set that stands `level` selection sets below a definition.
    fn selection_set(&mut self, set: &'a SelectionSet, level: usize) -> Result<Measure, Refusal> {
        if level > self.limits.nesting {
            return Err(self.nested_too_deep(level as u64));
        }
        let mut sum = Measure::default();
        for Positioned { node, .. } in &set.items {
            sum.beside(self.selection(node, level)?);
        }
        sum.nesting += 1;
        Ok(sum)
    }

    fn selection(&mut self, selection: &'a Selection, level: usize) -> Result<Measure, Refusal> {
        let mut measure = match selection {
            Selection::Field(field) => {
                let field = &field.node;
                let mut measure = match field.selection_set.node.items.as_slice() {
                    [] => Measure::default(),
                    _ => self.selection_set(&field.selection_set.node, level + 1)?,
                };
                measure.fields = measure.fields.saturating_add(1);
                measure.roots = 1;
                measure.aliases = measure.aliases.saturating_add(u64::from(field.alias.is_some()));
                measure.depth += 1;
                match field.name.node.as_str() {
                    "__schema" | "__type" => measure.introspection_lists = measure.lists,
                    "fields" | "inputFields" | "interfaces" | "possibleTypes" => measure.lists += 1,
                    _ => {}
                }
                measure
            }
            Selection::InlineFragment(fragment) => {
                self.selection_set(&fragment.node.selection_set.node, level + 1)?
            }
            Selection::FragmentSpread(spread) => {
                self.fragment(spread.node.fragment_name.node.as_str(), level + 1)?
            }
        };
        measure.directives = measure
            .directives
            .saturating_add(selection.directives().len() as u64);
        Ok(measure)
    }

    /// Measures a fragment once. One that is not defined counts nothing; validation names it.
    fn fragment(&mut self, name: &str, level: usize) -> Result<Measure, Refusal> {
        let document = self.document;
        let Some((name, definition)) = document.fragments.get_key_value(name) else {
            return Ok(Measure::default());
        };
        let measure = match self.known.get(name.as_str()) {
            Some(Known::Open) => {
                return Err(Refusal::bad_input(format!(
                    "the fragment '{name}' spreads itself"
                )));
            }
            Some(Known::Done(measure)) => *measure,
            None => {
                self.known.insert(name, Known::Open);
                let mut measure = self.selection_set(&definition.node.selection_set.node, level)?;
                measure.directives = measure
                    .directives
                    .saturating_add(definition.node.directives.len() as u64);
                self.known.insert(name, Known::Done(measure));
                measure
            }
        };
        let nesting = level as u64 + measure.nesting - 1;
        if nesting > self.limits.nesting as u64 {
            return Err(self.nested_too_deep(nesting));
        }
        Ok(measure)
    }

    fn within(&self, measure: &Measure) -> Result<(), Refusal> {
        let limits = self.limits;
        at_most(measure.fields, limits.fields, "fields, fragments spread")?;
        at_most(measure.aliases, limits.aliases, "aliases, fragments spread")?;
        at_most(
            measure.directives,
            limits.directives,
            "directives, fragments spread",
        )?;
        at_most(measure.depth, limits.depth, "levels of fields, fragments spread")?;
        at_most(
            measure.introspection_lists,
            limits.introspection_lists,
            "nested introspection lists, fragments spread",
        )
    }

    /// `nesting` is what was met; the walk goes no deeper.
    fn nested_too_deep(&self, nesting: u64) -> Refusal {
        Refusal::too_large(format!(
            "selections are nested at least {nesting} deep, fragments spread; at most {} are allowed",
            self.limits.nesting
        ))
    }
}

fn at_most(count: u64, limit: u64, what: &'static str) -> Result<(), Refusal> {
    if count <= limit {
        return Ok(());
    }
    Err(Refusal::too_large(format!(
        "the document has {count} {what}; at most {limit} are allowed"
    )))
}
