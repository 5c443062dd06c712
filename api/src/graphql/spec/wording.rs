//! What is wrong with a value, and where in it.
//!
//! One rule: the words are those of graphql-js, for which clients and their authors know what to do. A value is
//! shown as far as it helps: long texts are cut, and what is in lists and objects is not shown.

use async_graphql::Value;

/// What is wrong with a value, and where in it.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: String,
    pub(super) what: String,
}

/// Where in a value one is: names and indices.
pub(super) type Place = Vec<String>;

pub(super) fn wrong<T>(place: &Place, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        at: place.concat(),
        what: what.into(),
    })
}

pub(super) fn within<T>(place: &mut Place, segment: String, read: impl FnOnce(&mut Place) -> T) -> T {
    place.push(segment);
    let read = read(place);
    place.pop();
    read
}

/// Characters of a text that are shown.
const SHOWN: usize = 64;

/// A value as it is named in a message.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::List(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Binary(_) => "bytes".to_owned(),
        Value::String(text) if text.chars().count() > SHOWN => {
            let start: String = text.chars().take(SHOWN).collect();
            format!("{}…", Value::String(start))
        }
        other => other.to_string(),
    }
}

/// A name as it is written in a message.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// A value that is none of the built-in scalar `name`.
pub(super) fn no_scalar(name: &str, value: &Value) -> String {
    let value = shown(value);
    match name {
        "Int" if value.parse::<i128>().is_ok() => {
            format!("Int cannot represent non 32-bit signed integer value: {value}")
        }
        "Int" => format!("Int cannot represent non-integer value: {value}"),
        "Float" => format!("Float cannot represent non numeric value: {value}"),
        "Boolean" => format!("Boolean cannot represent a non boolean value: {value}"),
        "ID" => format!("ID cannot represent a non-string and non-integer value: {value}"),
        _ => format!("String cannot represent a non string value: {value}"),
    }
}

/// A value that is none of an enum.
pub(super) fn no_member(name: &str, value: &Value) -> String {
    match value {
        Value::Enum(given) => format!("Value \"{}\" does not exist in \"{name}\" enum.", cut(given)),
        other => format!(
            "Enum \"{name}\" cannot represent non-enum value: {}.",
            shown(other)
        ),
    }
}

/// A field that an input object does not have.
pub(super) fn unknown_field(name: &str, field: &str) -> String {
    format!("Field \"{}\" is not defined by type \"{name}\".", cut(field))
}

/// A field that an input object lacks.
pub(super) fn missing_field(of: &str, field: &str, ty: &impl std::fmt::Display) -> String {
    format!("Field \"{of}.{field}\" of required type \"{ty}\" was not provided.")
}

/// A null, or something that is no object, in the place of something else.
pub(super) fn unexpected(ty: &impl std::fmt::Display, value: &Value) -> String {
    format!("Expected value of type \"{ty}\", found {}.", shown(value))
}

/// What an input object with exactly one field has to have.
pub(super) fn one_key(name: &str) -> String {
    format!("OneOf Input Object \"{name}\" must specify exactly one key.")
}
