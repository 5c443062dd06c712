//! Values and types as they are written in a document.

use async_graphql::parser::types::{BaseType, Type};
use async_graphql::{Name, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::omitted::given;
use super::values;
use super::wording::Wrong;

/// Whether each value of `variable` is one of `location` (5.8.5, `AreTypesCompatible`).
pub(super) fn compatible(variable: &Type, location: &Type) -> bool {
    (location.nullable || !variable.nullable) && same_base(&variable.base, &location.base)
}

/// The same, whether or not the two may be null.
pub(super) fn same_base(variable: &BaseType, location: &BaseType) -> bool {
    match (variable, location) {
        (BaseType::Named(variable), BaseType::Named(location)) => variable == location,
        (BaseType::List(variable), BaseType::List(location)) => compatible(variable, location),
        _ => false,
    }
}

/// Whether a literal is one of the built-in scalars (3.5); what is one of the others, their own code says.
pub(super) fn is_written(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("Int", Value::Number(number)) => number
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        ("Float", Value::Number(_))
        | ("String" | "ID", Value::String(_))
        | ("Boolean", Value::Boolean(_)) => true,
        ("ID", Value::Number(number)) => number.is_i64() || number.is_u64(),
        ("Int" | "Float" | "String" | "ID" | "Boolean", _) => false,
        _ => true,
    }
}

/// Whether a variable stands in a value.
pub(super) fn has_variable(value: &Value) -> bool {
    match value {
        Value::Variable(_) => true,
        Value::List(items) => items.iter().any(has_variable),
        Value::Object(fields) => fields.values().any(has_variable),
        _ => false,
    }
}

/// A value with its variables replaced; those that were omitted are left out.
pub(super) fn constant(values: Option<&Variables>, value: &Value) -> ConstValue {
    let none = Variables::default();
    let values = values.unwrap_or(&none);
    let of = |name: Name| Ok::<_, ()>(values.get(&name).cloned().unwrap_or_default());
    let given = given(values, value).unwrap_or(Value::Null);
    given.into_const_with(of).unwrap_or_default()
}

/// Refuses U+0000 in what is written in a document; variables are looked at where they are coerced.
pub(super) fn no_nul(value: &Value, at: &str) -> Result<(), Wrong> {
    let known = value
        .clone()
        .into_const_with(|_| Ok::<_, ()>(ConstValue::Null))
        .unwrap_or_default();
    values::no_nul(&known, &mut vec![at.to_owned()])
}
