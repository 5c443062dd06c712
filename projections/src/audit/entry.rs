//! Audit entries: the `audit_entry` table (AU-2). One row per event, secrets left out.

use std::{collections::BTreeSet, sync::LazyLock};

use domain::{aggregate::DecodeError, event_registry, event_store::RecordedEvent};
use serde_json::{Map, Value, value::RawValue};
use time::OffsetDateTime;

use crate::{
    position::stored,
    read_model::{ReadModel, Row, Rows, Scope},
};

/// The names of fields that any kind has masked: of an event of a later build too.
static MASKED: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let declared = event_registry::declarations();
    declared.flat_map(|fields| fields.masked).copied().collect()
});

/// One entry.
#[derive(Clone, Debug, Row)]
pub struct EntryRow {
    /// Position in the log.
    pub position: i64,
    /// The event's id.
    pub event_id: uuid::Uuid,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// `<context>.<Event>`.
    pub kind: String,
    /// What stands before the dot.
    pub context: String,
    /// The stream.
    pub stream: String,
    /// Revision in the stream.
    pub revision: i64,
    /// `success`, or `failure` for what was refused or failed.
    pub outcome: String,
    /// Who acted.
    pub actor: String,
    /// The actor's organization.
    pub organization: Option<String>,
    /// The session of the request.
    pub session: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// Address of the caller.
    pub address: Option<String>,
    /// User agent of the caller.
    pub user_agent: Option<String>,
    /// What it is about: the key of the stream.
    pub subject: String,
    /// The payload, masked.
    pub data: Box<RawValue>,
}

/// The projection.
#[derive(Default)]
pub struct Entries;

/// A kind of a later build counts as a success until that build folds the log again.
fn outcome(kind: &str) -> &'static str {
    match event_registry::declaration(kind) {
        Some(fields) if fields.failure => "failure",
        _ => "success",
    }
}

/// The payload without what verifies a secret; as it was recorded, where nothing does.
fn masked(data: &RawValue) -> Box<RawValue> {
    let holds = |field: &&&str| data.get().contains(**field);
    let mut fields = MASKED.iter().filter(holds).peekable();
    if fields.peek().is_none() {
        return data.to_owned();
    }
    let mut payload: Map<String, Value> = match serde_json::from_str(data.get()) {
        Ok(payload) => payload,
        // Payloads are objects; in what is none, nothing has a name.
        Err(_) => return data.to_owned(),
    };
    for field in fields {
        if let Some(value) = payload.get_mut(*field) {
            *value = Value::from("***");
        }
    }
    serde_json::value::to_raw_value(&payload).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

impl ReadModel for Entries {
    type Row = EntryRow;
    const NAME: &'static str = "audit.entry";
    const VERSION: i32 = 1;
    const PERSONAL: bool = true;
    const TABLE: &'static str = "audit_entry";
    const KEY: &'static str = "position";
    const KEY_TYPE: &'static str = "bigint";
    const APPEND_ONLY: bool = true;
    const RECORDED_AT: Option<&'static str> = Some("position");
    const SCOPE: Scope =
        Scope::Internal("the search of the audit log has a scope of its own: the organization");
    const CATEGORIES: &'static [&'static str] = &[];

    fn keys(_: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(Vec::new())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<EntryRow>) -> Result<(), DecodeError> {
        let row = EntryRow {
            position: stored(event.position),
            event_id: event.id,
            at: event.at,
            kind: event.kind.clone(),
            context: event.kind.split('.').next().unwrap_or_default().to_owned(),
            stream: event.stream.to_string(),
            revision: i64::try_from(event.revision).unwrap_or(i64::MAX),
            outcome: outcome(&event.kind).to_owned(),
            actor: event.meta.actor.clone(),
            organization: event.meta.organization.clone(),
            session: event.meta.session.clone(),
            request_id: event.meta.request_id.clone(),
            address: event.meta.address.clone(),
            user_agent: event.meta.user_agent.clone(),
            subject: event.stream.key().to_owned(),
            data: masked(&event.data),
        };
        rows.put(row.position, row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{masked, outcome};

    /// What the build before the declarations had by name.
    #[test]
    fn what_verifies_a_secret_is_masked_and_what_was_refused_is_a_failure() {
        let data = json!({ "verifier": "a", "refresh_hash": "b", "token_hash": "c", "sha256": "d" });
        let seen = json!({ "verifier": "***", "refresh_hash": "***", "token_hash": "***", "sha256": "d" });
        let raw = |value| serde_json::value::to_raw_value(&value).expect("JSON");
        assert_eq!(masked(&raw(data)).get(), raw(seen).get());
        let plain = raw(
            json!({ "name": "the verifier", "nested": { "verifier": "kept: only fields of the event itself" } }),
        );
        assert_eq!(masked(&plain).get(), plain.get());
        let failures: Vec<&str> = domain::event_registry::declarations()
            .map(|fields| fields.kind)
            .filter(|kind| outcome(kind) == "failure")
            .collect();
        let before = [
            "access.PermissionDenied",
            "access.DenialsLeftOut",
            "identity.LoginFailed",
            "identity.LoginLocked",
            "identity.LoginsLeftOut",
            "identity.RefreshTokenReused",
            "identity.TokenRefused",
            "identity.TokensLeftOut",
            "jobs.JobFailed",
        ];
        assert_eq!(failures, before);
        assert_eq!(outcome("later.Refused"), "success");
    }
}
