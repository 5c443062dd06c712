//! The messages of the protocol, both ways.

use serde_json::{Map, Value, json};

use super::close::Close;
use crate::http::graphql::params::Params;

/// The longest id that a client may give an operation.
const LONGEST_ID: usize = 128;

/// A message from the client.
#[derive(Debug)]
pub(super) enum FromClient {
    /// Opens the conversation, with credentials in its payload.
    Init(Map<String, Value>),
    /// Asks for a pong with the same payload.
    Ping(Option<Value>),
    /// Answers a ping.
    Pong,
    /// Starts an operation.
    Subscribe { id: String, params: Params },
    /// Ends an operation.
    Complete { id: String },
}

impl FromClient {
    /// Reads a text frame.
    ///
    /// # Errors
    /// A [`Close`] with 4400: the protocol wants the socket closed over any message it does not know.
    pub(super) fn read(text: &str) -> Result<Self, Close> {
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
            return Err(Close::bad_message("a message must be a JSON object"));
        };
        let payload = message.remove("payload");
        match message.get("type").and_then(Value::as_str) {
            Some("connection_init") => optional_object(payload).map(Self::Init),
            Some("ping") => {
                let echoed = payload.clone();
                optional_object(payload).map(|_| Self::Ping(echoed.filter(|payload| !payload.is_null())))
            }
            Some("pong") => optional_object(payload).map(|_| Self::Pong),
            Some("subscribe") => {
                let id = operation_id(&message)?;
                let params = Params::from_json(payload.unwrap_or_default()).map_err(Close::bad_message)?;
                Ok(Self::Subscribe { id, params })
            }
            Some("complete") => operation_id(&message).map(|id| Self::Complete { id }),
            Some(_) => Err(Close::bad_message(
                "the message's type is not one that clients send",
            )),
            None => Err(Close::bad_message("the message has no type")),
        }
    }
}

fn optional_object(payload: Option<Value>) -> Result<Map<String, Value>, Close> {
    match payload {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members),
        Some(_) => Err(Close::bad_message("the message's payload must be an object")),
    }
}

fn operation_id(message: &Map<String, Value>) -> Result<String, Close> {
    match message.get("id").and_then(Value::as_str) {
        Some(id) if (1..=LONGEST_ID).contains(&id.len()) => Ok(id.to_owned()),
        _ => Err(Close::bad_message(
            "the message's id must be a string of 1 to 128 bytes",
        )),
    }
}

/// Accepts the conversation.
pub(super) fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// Answers a ping.
pub(super) fn pong(payload: Option<Value>) -> String {
    let mut message = json!({ "type": "pong" });
    if let Some(payload) = payload {
        message["payload"] = payload;
    }
    message.to_string()
}

/// A response of an operation, which is JSON text already.
pub(super) fn next(id: &str, response: &str) -> String {
    format!(
        r#"{{"type":"next","id":{},"payload":{response}}}"#,
        Value::from(id)
    )
}

/// The end of an operation that was not executed, with its errors.
pub(super) fn error(id: &str, errors: &Value) -> String {
    json!({ "type": "error", "id": id, "payload": errors }).to_string()
}

/// The end of an operation.
pub(super) fn complete(id: &str) -> String {
    json!({ "type": "complete", "id": id }).to_string()
}
