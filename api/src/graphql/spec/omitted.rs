//! Arguments whose variables were omitted (6.4.1, 3.10, 3.11): they are as if they were not written.

use async_graphql::Variables;
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
