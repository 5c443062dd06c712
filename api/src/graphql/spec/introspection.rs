//! Introspection that is switched off.
//!
//! One rule: who asks for the schema all the same is told so before anything runs. The library alone answers null
//! for `__schema`, which is not null by its type. `__typename` is no question about the schema and stays.

use std::collections::HashSet;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, Pos, ServerError};

/// Refuses an operation that asks for the schema, also through fragments.
///
/// # Errors
/// `FORBIDDEN` at the first `__schema` or `__type`.
pub(super) fn refuse(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
) -> Result<(), ServerError> {
    let mut visited = HashSet::new();
    let Some((name, at)) = question(document, &operation.selection_set.node, &mut visited) else {
        return Ok(());
    };
    let message = format!("GraphQL introspection is disabled on this server, so \"{name}\" is not answered.");
    let mut error = ServerError::new(message, Some(at));
    error.extensions.get_or_insert_default().set("code", "FORBIDDEN");
    Err(error)
}

/// The first field about the schema.
fn question<'a>(
    document: &'a ExecutableDocument,
    set: &'a SelectionSet,
    visited: &mut HashSet<&'a Name>,
) -> Option<(&'a Name, Pos)> {
    set.items.iter().find_map(|selection| match &selection.node {
        Selection::Field(field) => {
            let name = &field.node.name;
            match name.node.as_str() {
                "__schema" | "__type" => Some((&name.node, name.pos)),
                _ => question(document, &field.node.selection_set.node, visited),
            }
        }
        Selection::InlineFragment(fragment) => question(document, &fragment.node.selection_set.node, visited),
        Selection::FragmentSpread(spread) => {
            let name = &spread.node.fragment_name.node;
            let fragment = document.fragments.get(name)?;
            if !visited.insert(name) {
                return None;
            }
            question(document, &fragment.node.selection_set.node, visited)
        }
    })
}
