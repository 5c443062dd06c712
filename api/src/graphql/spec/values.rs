//! The values of variables (6.1.2, `CoerceVariableValues`).
//!
//! One rule: what leaves here has a value for each variable that was given or has a default, of its declared
//! type, and without a character that no text column can hold. Defaults are literals, and looked at with those.

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::{Name, Number, ServerError, Value, Variables};

use super::refusal;
use super::types::{Input, Kind, TypeSystem};
use super::verify::verify;
use super::wording::{self, Place, Wrong, within, wrong};

/// Coerces the variables of an operation; those that it does not declare are dropped.
///
/// # Errors
/// One for each variable that is missing or not of its type.
pub(super) fn coerce(
    types: &TypeSystem,
    operation: &OperationDefinition,
    given: &Variables,
) -> Result<Variables, Vec<ServerError>> {
    let mut coerced = Variables::default();
    let mut errors = Vec::new();
    for definition in &operation.variable_definitions {
        let (at, definition) = (definition.pos, &definition.node);
        let (name, ty) = (&definition.name.node, &definition.var_type.node);
        match (given.get(name), &definition.default_value) {
            (Some(Value::Null), _) if !ty.nullable => errors.push(refusal(
                format!("Variable \"${name}\" of non-null type \"{ty}\" must not be null."),
                at,
            )),
            (Some(value), _) => match input(types, value, ty, name) {
                Ok(value) => {
                    coerced.insert(name.clone(), value);
                }
                Err(Wrong { at: place, what }) => errors.push(refusal(
                    format!("Variable \"${name}\" got invalid value at \"{place}\"; {what}"),
                    at,
                )),
            },
            (None, Some(default)) => {
                coerced.insert(name.clone(), default.node.clone());
            }
            (None, None) if !ty.nullable => errors.push(refusal(
                format!("Variable \"${name}\" of required type \"{ty}\" was not provided."),
                at,
            )),
            (None, None) => {}
        }
    }
    if errors.is_empty() {
        Ok(coerced)
    } else {
        Err(errors)
    }
}

/// A variable's value as one of its type, and as its resolver can read it.
fn input(types: &TypeSystem, value: &Value, ty: &Type, name: &Name) -> Result<Value, Wrong> {
    let mut place = vec![name.to_string()];
    let value = value_of(types, value, ty, &mut place)?;
    verify(types, &value, ty, &mut place)?;
    Ok(value)
}

fn value_of(types: &TypeSystem, value: &Value, ty: &Type, place: &mut Place) -> Result<Value, Wrong> {
    match (&ty.base, value) {
        (_, Value::Null) if ty.nullable => Ok(Value::Null),
        (_, Value::Null) => wrong(place, wording::unexpected(ty, value)),
        (BaseType::List(item), Value::List(items)) => {
            let items = items.iter().enumerate().map(|(index, value)| {
                within(place, format!("[{index}]"), |place| {
                    value_of(types, value, item, place)
                })
            });
            items.collect::<Result<_, _>>().map(Value::List)
        }
        (BaseType::List(item), single) => Ok(Value::List(vec![value_of(types, single, item, place)?])),
        (BaseType::Named(name), value) => named_value(types, value, name, place),
    }
}

fn named_value(types: &TypeSystem, value: &Value, name: &str, place: &mut Place) -> Result<Value, Wrong> {
    match (types.kind(name), value) {
        (Some(Kind::Enum(values)), Value::String(text)) if values.contains(text) => {
            Ok(Value::Enum(Name::new(text)))
        }
        (Some(Kind::Enum(_)), Value::String(text)) => {
            let given = Value::Enum(Name::new(text));
            wrong(place, wording::no_member(name, &given))
        }
        (Some(Kind::Enum(_)), _) => wrong(place, wording::no_member(name, value)),
        (Some(Kind::Input { fields, one_of }), Value::Object(given)) => {
            let unknown = |key: &&Name| fields.iter().all(|field| field.name != key.as_str());
            if let Some(unknown) = given.keys().find(unknown) {
                return wrong(place, wording::unknown_field(name, unknown));
            }
            if *one_of && given.len() != 1 {
                return wrong(place, wording::one_key(name));
            }
            let mut object = async_graphql::indexmap::IndexMap::new();
            for field in fields {
                if let Some(value) = input_field(types, given.get(field.name.as_str()), field, name, place)? {
                    object.insert(Name::new(&field.name), value);
                }
            }
            Ok(Value::Object(object))
        }
        (Some(Kind::Input { .. }), _) => wrong(place, wording::unexpected(&name, value)),
        (Some(Kind::Scalar), value) => {
            no_nul(value, place)?;
            scalar(name, value).map_or_else(|| wrong(place, wording::no_scalar(name, value)), Ok)
        }
        // A type that is unknown, or none of inputs: validation says so.
        _ => Ok(value.clone()),
    }
}

fn input_field(
    types: &TypeSystem,
    given: Option<&Value>,
    field: &Input,
    of: &str,
    place: &mut Place,
) -> Result<Option<Value>, Wrong> {
    match given {
        Some(value) => within(place, format!(".{}", field.name), |place| {
            value_of(types, value, &field.ty, place).map(Some)
        }),
        None if field.ty.nullable || field.has_default => Ok(None),
        None => wrong(place, wording::missing_field(of, &field.name, &field.ty)),
    }
}

/// A JSON value as one of the built-in scalars (3.5); scalars of our own pass.
fn scalar(name: &str, value: &Value) -> Option<Value> {
    match (name, value) {
        ("Int", Value::Number(number)) => int(number).map(|int| Value::Number(int.into())),
        ("Float", Value::Number(_))
        | ("String" | "ID", Value::String(_))
        | ("Boolean", Value::Boolean(_)) => Some(value.clone()),
        ("ID", Value::Number(number)) if number.is_i64() || number.is_u64() => Some(value.clone()),
        ("Int" | "Float" | "String" | "ID" | "Boolean", _) => None,
        _ => Some(value.clone()),
    }
}

/// A JSON number as `Int`: JSON does not tell 3 from 3.0.
fn int(number: &Number) -> Option<i32> {
    if let Some(number) = number.as_i64() {
        return i32::try_from(number).ok();
    }
    let number = number.as_f64()?;
    let whole = number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range")]
    whole.then_some(number as i32)
}

/// Refuses U+0000 anywhere in a value: PostgreSQL's texts cannot hold it.
pub(super) fn no_nul(value: &Value, place: &mut Place) -> Result<(), Wrong> {
    const WHAT: &str = "a text must not contain the character U+0000";
    match value {
        Value::String(text) if text.contains('\0') => wrong(place, WHAT),
        Value::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| within(place, format!("[{index}]"), |place| no_nul(item, place))),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            if name.contains('\0') {
                return wrong(place, WHAT);
            }
            within(place, format!(".{name}"), |place| no_nul(field, place))
        }),
        _ => Ok(()),
    }
}
