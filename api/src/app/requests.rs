//! The requests that clients may repeat (GQ-2), as the write path knows them.
//!
//! One rule: everything about a request is computed under the pepper, which all processes of an installation share and
//! which is not changed when signing keys are. So nobody can guess or replay another's request, and a copy of the log
//! does not tell what was asked for.

use domain::request::Request;
use serde_json::{Value, json};
use uuid::{Builder, Uuid};

use super::{App, Caller};

/// A request that a client identified, before it is known what it is about.
#[derive(Clone, Debug)]
pub struct ClientRequest {
    key: String,
    fingerprint: String,
}

impl ClientRequest {
    /// The request `id` of `caller` for `operation` with `input`, whose secrets are left out.
    ///
    /// It belongs to a credential: to the session, or, where nobody is signed in, to the address.
    #[must_use]
    pub fn new(app: &App, caller: &Caller, operation: &str, id: Uuid, input: &Value) -> Self {
        let credential = match caller.session() {
            Some(session) => session.to_string(),
            None => format!("{:?}", caller.address),
        };
        let parts = json!([credential, caller.principal.actor(), operation, id]).to_string();
        let key = app.pepper.keyed_hash("request", &parts);
        let input = json!([key, canonical(input)]).to_string();
        let fingerprint = app.pepper.keyed_hash("request input", &input);
        Self { key, fingerprint }
    }

    /// The id number `number` that the request hands out: ordered by time like every id, and otherwise a keyed hash.
    #[must_use]
    pub fn id(&self, app: &App, number: u32) -> Uuid {
        let hash = app
            .pepper
            .keyed_hash("request id", &json!([self.key, number]).to_string());
        let mut bytes = [0; 10];
        for (byte, pair) in bytes.iter_mut().zip(hash.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
        let milliseconds = app.now().unix_timestamp_nanos() / 1_000_000;
        let milliseconds = u64::try_from(milliseconds).unwrap_or_default();
        Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid()
    }

    /// The request as the write path takes it: about `entity`.
    #[must_use]
    pub fn about(&self, entity: Uuid) -> Request {
        Request {
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
            entity,
        }
    }
}

/// The value with its fields in one order and without those that are null: as if they were left out.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| *name);
            let field = |(name, value): (&String, &Value)| json!([name, canonical(value)]);
            Value::Array(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}
