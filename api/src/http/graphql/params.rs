//! The four members of a GraphQL request, read to the letter (GraphQL over HTTP, "Request Parameters").

use std::borrow::Cow;

use async_graphql::{Request, Variables};
use axum::body::Bytes;
use serde_json::{Map, Value};

use crate::graphql::guard::{Limits, Refusal, check_variables};
use crate::http::query_string;

/// A request before its document is looked at.
#[derive(Debug)]
pub(super) struct Params {
    query: String,
    operation_name: Option<String>,
    variables: Map<String, Value>,
    extensions: Map<String, Value>,
}

/// What is wrong with a request's members, in words for its author.
pub(super) type ParamsError = Cow<'static, str>;

impl Params {
    /// Reads the body of a POST.
    pub(super) fn from_body(body: &Bytes) -> Result<Self, ParamsError> {
        let value = serde_json::from_slice(body).map_err(|error| not_read("the body", &error))?;
        Self::from_json(value)
    }

    /// Reads the query string of a GET: `variables` and `extensions` are JSON texts there.
    pub(super) fn from_query_string(query: &str) -> Result<Self, ParamsError> {
        if !query_string::is_utf8(query) {
            return Err("the query string is not in UTF-8".into());
        }
        let mut members = Map::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = match name.as_ref() {
                "query" => Value::String(value.into_owned()),
                "operationName" | "variables" | "extensions" if value.is_empty() => Value::Null,
                "operationName" => Value::String(value.into_owned()),
                "variables" | "extensions" => {
                    let what = format!("the parameter '{name}'");
                    serde_json::from_str(&value).map_err(|error| not_read(&what, &error))?
                }
                _ => continue,
            };
            if members.contains_key(name.as_ref()) {
                return Err(format!("the parameter '{name}' is given twice").into());
            }
            members.insert(name.into_owned(), value);
        }
        Self::from_json(Value::Object(members))
    }

    /// Reads a JSON object; members that the specification does not know are passed over.
    pub(super) fn from_json(value: Value) -> Result<Self, ParamsError> {
        let mut members = match value {
            Value::Object(members) => members,
            Value::Array(_) => {
                return Err("batches are not accepted; send one request, as a JSON object".into());
            }
            _ => return Err("the request must be a JSON object".into()),
        };
        let query = match members.remove("query") {
            Some(Value::String(query)) => query,
            Some(_) => return Err("'query' must be a string".into()),
            None => return Err("'query' is missing".into()),
        };
        let operation_name = match members.remove("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err("'operationName' must be a string".into()),
        };
        Ok(Self {
            query,
            operation_name,
            variables: object(&mut members, "variables")?,
            extensions: object(&mut members, "extensions")?,
        })
    }

    /// The request for the library, its variables measured.
    pub(super) fn into_request(self, limits: &Limits) -> Result<Request, Refusal> {
        let variables = Value::Object(self.variables);
        let extensions = Value::Object(self.extensions);
        check_variables(&variables, limits)?;
        check_variables(&extensions, limits)?;
        let mut request = Request::new(self.query).variables(Variables::from_json(variables));
        request.operation_name = self.operation_name;
        if let Value::Object(extensions) = extensions {
            let read = extensions.into_iter().filter_map(|(name, value)| {
                async_graphql::Value::from_json(value)
                    .ok()
                    .map(|value| (name, value))
            });
            request.extensions.0.extend(read);
        }
        Ok(request)
    }
}

/// Why a text is not read as JSON, and where it stops being it.
///
/// Some texts are JSON by its grammar and hold what no value here can: half of a surrogate pair (RFC 8259, 8.2), a
/// number beyond all bounds, arrays in arrays without an end. Those are named.
pub(super) fn not_read(what: &str, error: &serde_json::Error) -> ParamsError {
    const BEYOND: [(&str, &str); 4] = [
        ("surrogate", "has half of a surrogate pair"),
        ("end of hex escape", "has half of a surrogate pair"),
        ("number out of range", "has a number that is too large"),
        ("recursion limit", "is nested too deep"),
    ];
    let said = error.to_string();
    let beyond = BEYOND.iter().find(|(words, _)| said.contains(words));
    let why = beyond.map_or("is not JSON", |(_, why)| why);
    format!("{what} {why} at line {}, column {}", error.line(), error.column()).into()
}

fn object(members: &mut Map<String, Value>, name: &'static str) -> Result<Map<String, Value>, ParamsError> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(format!("'{name}' must be an object").into()),
    }
}
