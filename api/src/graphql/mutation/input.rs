//! What every input may say beside its own fields: `clientRequestId` and `expectedVersion`.
//!
//! One rule: a field is a secret when the schema marks it so; a secret is never part of what is compared.

use async_graphql::{Context, InputObjectType, registry::MetaType};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What an input says beside its own fields, and the rest of it without secrets.
pub struct CommonInput {
    /// The client's id of the request.
    pub client_request_id: Option<Uuid>,
    /// The version that the thing must have.
    pub expected_version: Option<u64>,
    /// The input, without its id and secrets.
    pub input: Value,
}

impl CommonInput {
    /// Takes `input` apart.
    #[must_use]
    pub fn of<I: InputObjectType>(context: &Context<'_>, input: &I) -> Self {
        let value = input.to_value().into_json().unwrap_or_default();
        let client_request_id = value[super::CLIENT_REQUEST_ID]
            .as_str()
            .and_then(|id| Uuid::parse_str(id).ok());
        let expected_version = value[super::EXPECTED_VERSION].as_u64();
        let mut input = without_secrets(context, &I::type_name(), value);
        if let Some(fields) = input.as_object_mut() {
            fields.remove(super::CLIENT_REQUEST_ID);
        }
        Self {
            client_request_id,
            expected_version,
            input,
        }
    }
}

/// `value` of the type `name`, without the fields that the schema marks as secret.
fn without_secrets(context: &Context<'_>, name: &str, value: Value) -> Value {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Array(items) => {
            let items = items.into_iter().map(|item| without_secrets(context, name, item));
            return Value::Array(items.collect());
        }
        other => return other,
    };
    let Some(MetaType::InputObject { input_fields, .. }) = context.schema_env.registry.types.get(name) else {
        return Value::Object(fields);
    };
    let mut kept = Map::new();
    for (field, value) in fields {
        let Some(declared) = input_fields.get(&field).filter(|declared| !declared.is_secret) else {
            continue;
        };
        let name = declared
            .ty
            .trim_matches(|letter| matches!(letter, '[' | ']' | '!'));
        kept.insert(field, without_secrets(context, name, value));
    }
    Value::Object(kept)
}
