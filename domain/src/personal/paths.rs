//! Paths to the leaves of a payload: `profile.email`, `list[]` for each element of a list, `map.*` for each value of
//! a map.

use std::collections::BTreeSet;

use serde_json::Value;

/// Every leaf of `value` as a path with `[]` for lists, each once.
#[must_use]
pub fn leaves(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(field, &format!("{path}{dot}{name}"), found);
                }
            }
            Value::Array(list) => {
                for element in list {
                    walk(element, &format!("{path}[]"), found);
                }
            }
            _ => {
                found.insert(path.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

/// Whether the declared path `pattern` names the leaf `path`.
#[must_use]
pub fn names(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('.'), path.split('.'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Calls `visit` with each string at the declared path `pattern`, and with the exact path of it (elements of
/// lists by their index). What is null or missing is passed over.
///
/// # Errors
/// The first error of `visit`, or what `not_text` makes of the path of a leaf that is not a string.
pub fn visit<X>(
    value: &mut Value,
    pattern: &str,
    not_text: &dyn Fn(&str) -> X,
    visit: &mut dyn FnMut(&str, &mut String) -> Result<(), X>,
) -> Result<(), X> {
    let steps: Vec<&str> = pattern.split('.').collect();
    descend(value, &steps, "", not_text, visit)
}

fn descend<X>(
    value: &mut Value,
    steps: &[&str],
    path: &str,
    not_text: &dyn Fn(&str) -> X,
    visit: &mut dyn FnMut(&str, &mut String) -> Result<(), X>,
) -> Result<(), X> {
    let Some((step, rest)) = steps.split_first() else {
        return match value {
            Value::String(text) => visit(path, text),
            Value::Null => Ok(()),
            _ => Err(not_text(path)),
        };
    };
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    if let Some(list) = step.strip_suffix("[]") {
        let Some(elements) = value.get_mut(list).and_then(Value::as_array_mut) else {
            return Ok(());
        };
        return elements.iter_mut().enumerate().try_for_each(|(index, element)| {
            descend(
                element,
                rest,
                &below(&format!("{list}[{index}]")),
                not_text,
                visit,
            )
        });
    }
    match (value.as_object_mut(), *step) {
        (Some(fields), "*") => fields
            .iter_mut()
            .try_for_each(|(name, field)| descend(field, rest, &below(name), not_text, visit)),
        (Some(fields), name) => match fields.get_mut(name) {
            Some(field) => descend(field, rest, &below(name), not_text, visit),
            None => Ok(()),
        },
        (None, _) => Ok(()),
    }
}
