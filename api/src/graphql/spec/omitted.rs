//! Arguments whose variables were omitted (6.4.1, 3.10, 3.11): they are as if they were not written.

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value as ConstValue, Variables};
use async_graphql_value::Value;

/// A value without the fields of input objects whose variables were omitted; nothing for an omitted variable
/// itself, and null for one in a list.
pub(super) fn given(variables: &Variables, value: &Value) -> Option<Value> {
    match value {
        Value::Variable(name) if !variables.contains_key(name) => None,
        Value::List(items) => {
            let items = items
                .iter()
                .map(|item| given(variables, item).unwrap_or(Value::Null));
            Some(Value::List(items.collect()))
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .filter_map(|(name, field)| Some((name.clone(), given(variables, field)?)));
            Some(Value::Object(fields.collect()))
        }
        other => Some(other.clone()),
    }
}

/// The document with one operation only, and without arguments that are omitted or null: what is measured.
/// To a page's size, null is the same as nothing.
pub(super) fn measurable(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    variables: &Variables,
) -> ExecutableDocument {
    let mut operation = operation.clone();
    let mut fragments = document.fragments.clone();
    prune(&mut operation.node.selection_set.node, variables);
    for fragment in fragments.values_mut() {
        prune(&mut fragment.node.selection_set.node, variables);
    }
    ExecutableDocument {
        operations: DocumentOperations::Single(operation),
        fragments,
    }
}

fn prune(set: &mut SelectionSet, variables: &Variables) {
    for Positioned { node: selection, .. } in &mut set.items {
        match selection {
            Selection::Field(field) => {
                field
                    .node
                    .arguments
                    .retain_mut(|(_, value)| keep(&mut value.node, variables));
                prune(&mut field.node.selection_set.node, variables);
            }
            Selection::InlineFragment(fragment) => prune(&mut fragment.node.selection_set.node, variables),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn keep(value: &mut Value, variables: &Variables) -> bool {
    let is_null = |name: &Name| variables.get(name) == Some(&ConstValue::Null);
    match given(variables, value) {
        None | Some(Value::Null) => false,
        Some(Value::Variable(name)) => !is_null(&name),
        Some(given) => {
            *value = given;
            true
        }
    }
}
