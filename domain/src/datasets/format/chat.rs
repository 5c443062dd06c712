//! One line of a chat dataset.
//!
//! One rule: what passes here can be trained on. Keys that are not read are allowed, since other tools put
//! their own beside `messages`.

use serde_json::{Map, Value};

use super::ProblemCode;

/// A good line.
#[derive(Debug)]
pub(super) struct Chat {
    /// Role and content of each message, in order.
    pub messages: Vec<(String, String)>,
    /// Whether keys other than `messages` stand beside it.
    pub other_keys: bool,
}

/// A refused line: why, for programs and for people.
pub(super) type Refused = (ProblemCode, String);

/// Reads one line.
pub(super) fn parse(text: &str) -> Result<Chat, Refused> {
    let mut object = object(text, "'messages'")?;
    let messages = match object.remove("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err((ProblemCode::Messages, "'messages' is empty".to_owned())),
        Some(_) => return Err((ProblemCode::Messages, "'messages' is not a list".to_owned())),
        None => return Err((ProblemCode::Messages, "'messages' is missing".to_owned())),
    };
    let messages = (1..)
        .zip(messages)
        .map(|(number, value)| message(number, value))
        .collect::<Result<Vec<_>, _>>()?;
    let roles: Vec<&str> = messages.iter().map(|(role, _)| role.as_str()).collect();
    order(&roles)?;
    Ok(Chat {
        messages,
        other_keys: !object.is_empty(),
    })
}

/// The object of a line, which should have `keys`.
pub(super) fn object(text: &str, keys: &str) -> Result<Map<String, Value>, Refused> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // There is one line only; its number is in the report already.
        let reason = reason.replace(" at line 1 column ", " at column ");
        (ProblemCode::InvalidJson, format!("not JSON: {reason}"))
    })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err((ProblemCode::NotAnObject, format!("not a JSON object with {keys}"))),
    }
}

/// Reads one message; `number` counts from 1.
fn message(number: usize, value: Value) -> Result<(String, String), Refused> {
    let Value::Object(mut object) = value else {
        return Err((ProblemCode::Message, format!("message {number} is not an object")));
    };
    let mut text = |key: &str| match object.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err((
            ProblemCode::Message,
            format!("'{key}' of message {number} is not a string"),
        )),
        None => Err((ProblemCode::Message, format!("message {number} has no '{key}'"))),
    };
    let (role, content) = (text("role")?, text("content")?);
    if !matches!(role.as_str(), "system" | "user" | "assistant") {
        let role: String = role
            .chars()
            .take(32)
            .filter(|character| !character.is_control())
            .collect();
        let reason = format!("role '{role}' of message {number} is not system, user or assistant");
        return Err((ProblemCode::Role, reason));
    }
    if content.trim().is_empty() {
        return Err((
            ProblemCode::EmptyContent,
            format!("'content' of message {number} is empty"),
        ));
    }
    if content.contains('\0') {
        return Err((
            ProblemCode::Nul,
            format!("'content' of message {number} has a NUL (\\u0000)"),
        ));
    }
    Ok((role, content))
}

/// System only first, a user before any assistant, an assistant last.
pub(super) fn order(roles: &[&str]) -> Result<(), Refused> {
    let refuse = |reason: String| Err((ProblemCode::RoleOrder, reason));
    if let Some(at) = roles.iter().skip(1).position(|role| *role == "system") {
        return refuse(format!(
            "message {} is 'system', which may only stand first",
            at + 2
        ));
    }
    let turns = roles.strip_prefix(&["system"]).unwrap_or(roles);
    if !turns.contains(&"assistant") {
        return refuse("there is no 'assistant' message to learn from".to_owned());
    }
    if turns.first() != Some(&"user") {
        return refuse("an 'assistant' message comes before any 'user' message".to_owned());
    }
    if turns.last() != Some(&"assistant") {
        return refuse("the last message is not the assistant's; end each line with an answer".to_owned());
    }
    Ok(())
}
