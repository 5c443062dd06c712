//! Values as their resolvers will read them, before anything runs.
//!
//! One rule: what is wrong is named with its place. An input object is read as a whole, and says neither; so its
//! fields are read before it, and what is left to be wrong are numbers for which `Int` is too wide.

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{BaseType, Type};
use async_graphql::{Name, Value};

use super::checks::Check;
use super::types::{Input, Kind, TypeSystem, named};
use super::wording::{Place, Wrong, one_key, shown, within, wrong};

/// Reads a value, whose variables have been replaced, as the resolver will: custom scalars, input objects with
/// exactly one field, and numbers for which `Int` is too wide.
///
/// # Errors
/// The first place that cannot be read. What is wrong by the definition of the schema alone is not looked for.
pub(super) fn verify(types: &TypeSystem, value: &Value, ty: &Type, place: &mut Place) -> Result<(), Wrong> {
    match (&ty.base, value) {
        (_, Value::Null) => Ok(()),
        (BaseType::List(item), Value::List(items)) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, value)| {
                within(place, format!("[{index}]"), |place| {
                    verify(types, value, item, place)
                })
            })
        }
        (BaseType::List(item), single) => verify(types, single, item, place),
        (BaseType::Named(name), value) => match (types.kind(name), value) {
            (Some(Kind::Scalar), value) => scalar(types, value, name, place),
            (Some(Kind::Input { fields, one_of }), Value::Object(given)) => {
                if *one_of {
                    exactly_one(name, given, place)?;
                }
                for field in fields {
                    if let Some(value) = given.get(field.name.as_str()) {
                        within(place, format!(".{}", field.name), |place| {
                            verify(types, value, &field.ty, place)
                        })?;
                    }
                }
                object(types, given, fields, name, place)
            }
            _ => Ok(()),
        },
    }
}

fn scalar(types: &TypeSystem, value: &Value, name: &str, place: &mut Place) -> Result<(), Wrong> {
    let read = types.checks.get(name).map(|check| check(value.clone()));
    let Some(Err(why)) = read else { return Ok(()) };
    wrong(place, not_of(name, value, &why))
}

/// Refuses an input object that does not have exactly one field, or has it null.
fn exactly_one(name: &str, given: &IndexMap<Name, Value>, place: &mut Place) -> Result<(), Wrong> {
    match given.iter().next() {
        Some((key, Value::Null)) if given.len() == 1 => within(place, format!(".{key}"), |place| {
            wrong(place, format!("Field \"{name}.{key}\" must be non-null."))
        }),
        Some(_) if given.len() == 1 => Ok(()),
        _ => wrong(place, one_key(name)),
    }
}

/// Reads an input object whose fields have each been found right; then it can only be a number that is too small
/// or too large for its field.
fn object(
    types: &TypeSystem,
    given: &IndexMap<Name, Value>,
    fields: &[Input],
    name: &str,
    place: &mut Place,
) -> Result<(), Wrong> {
    let Some(check) = types.checks.get(name) else {
        return Ok(());
    };
    let Err(why) = check(Value::Object(given.clone())) else {
        return Ok(());
    };
    let Some((field, why)) = culprit(check, given, fields) else {
        return wrong(
            place,
            format!("Expected value of type \"{name}\"; {}", reason(&why)),
        );
    };
    let value = given.get(field).unwrap_or(&Value::Null);
    within(place, format!(".{field}"), |place| {
        wrong(place, not_of("Int", value, &why))
    })
}

/// The number with which alone the object cannot be read, all others being 1, and why.
fn culprit<'a>(
    check: Check,
    given: &IndexMap<Name, Value>,
    fields: &'a [Input],
) -> Option<(&'a str, String)> {
    let numbers = fields.iter().filter(|field| named(&field.ty) == "Int");
    let numbers: Vec<&str> = numbers.map(|field| field.name.as_str()).collect();
    let mut harmless = given.clone();
    for number in &numbers {
        if let Some(value) = harmless.get_mut(*number) {
            *value = ones(value);
        }
    }
    check(Value::Object(harmless.clone())).ok()?;
    numbers.into_iter().find_map(|number| {
        let mut alone = harmless.clone();
        alone.insert(Name::new(number), given.get(number)?.clone());
        Some((number, check(Value::Object(alone)).err()?))
    })
}

/// A value with 1 for each number.
fn ones(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::from(1),
        Value::List(items) => Value::List(items.iter().map(ones).collect()),
        other => other.clone(),
    }
}

fn not_of(name: &str, value: &Value, why: &str) -> String {
    let found = format!("Expected value of type \"{name}\", found {}", shown(value));
    match reason(why) {
        "" => format!("{found}."),
        "Invalid number" => format!("{found}; the number must not be negative here."),
        why => format!("{found}; {}.", why.trim_end_matches('.')),
    }
}

/// What a type says of a value, without what the library writes around it.
fn reason(message: &str) -> &str {
    let message = message
        .split(" (occurred while parsing ")
        .next()
        .unwrap_or(message);
    if message.starts_with("Expected input type ") {
        return "";
    }
    let rest = message.strip_prefix("Failed to parse \"");
    rest.and_then(|rest| rest.split_once("\": "))
        .map_or(message, |(_, why)| why)
}
