//! The messages of the protocol, both ways.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::close::Close;
use crate::http::graphql::params::{Params, ParamsError, not_read};

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
    /// Starts an operation; `params` says what is wrong when its payload is JSON that no text can hold.
    Subscribe {
        id: String,
        params: Result<Params, ParamsError>,
    },
    /// Ends an operation.
    Complete { id: String },
}

/// A frame before its payload is looked at: what is wrong there is the matter of one operation.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

impl<'a> Frame<'a> {
    fn read(text: &'a str) -> Result<Self, Close> {
        // serde would also take an array of the members.
        let is_object = text.trim_start().starts_with('{');
        if !is_object {
            return Err(Close::bad_message("a message must be a JSON object"));
        }
        serde_json::from_str(text).map_err(|error| match error.is_data() {
            true => Close::bad_message("the message's type and id must be strings, each given once"),
            false => Close::bad_message(not_read("the message", &error)),
        })
    }

    /// The payload as a value; null when there is none.
    fn payload(&self) -> Result<Value, ParamsError> {
        let Some(payload) = self.payload else {
            return Ok(Value::Null);
        };
        serde_json::from_str(payload.get()).map_err(|error| not_read("the payload", &error))
    }

    fn optional_object(&self) -> Result<Option<Map<String, Value>>, Close> {
        match self.payload().map_err(Close::bad_message)? {
            Value::Null => Ok(None),
            Value::Object(members) => Ok(Some(members)),
            _ => Err(Close::bad_message("the message's payload must be an object")),
        }
    }

    fn operation_id(self) -> Result<String, Close> {
        self.id
            .filter(|id| (1..=LONGEST_ID).contains(&id.len()))
            .ok_or_else(|| Close::bad_message("the message's id must be a string of 1 to 128 bytes"))
    }

    /// An operation. A payload that is JSON and still cannot be read (half of a surrogate pair, a number beyond all
    /// bounds, very deep nesting) fails this operation alone; one of another form is no message of the protocol.
    fn subscribe(self) -> Result<FromClient, Close> {
        let params = match self.payload() {
            Ok(payload) => Ok(Params::from_json(payload).map_err(Close::bad_message)?),
            Err(error) => Err(error),
        };
        let id = self.operation_id()?;
        Ok(FromClient::Subscribe { id, params })
    }
}

impl FromClient {
    /// Reads a text frame.
    ///
    /// # Errors
    /// A [`Close`] with 4400: the protocol wants the socket closed over any message it does not know.
    pub(super) fn read(text: &str) -> Result<Self, Close> {
        let frame = Frame::read(text)?;
        match frame.kind.as_deref() {
            Some("connection_init") => Ok(Self::Init(frame.optional_object()?.unwrap_or_default())),
            Some("ping") => Ok(Self::Ping(frame.optional_object()?.map(Value::Object))),
            Some("pong") => frame.optional_object().map(|_| Self::Pong),
            Some("subscribe") => frame.subscribe(),
            Some("complete") => frame.operation_id().map(|id| Self::Complete { id }),
            Some(_) => Err(Close::bad_message(
                "the message's type is not one that clients send",
            )),
            None => Err(Close::bad_message("the message has no type")),
        }
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
