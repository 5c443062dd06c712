//! What a request was denied and what it looked at, noted while it is resolved and recorded before it is answered.
//!
//! One rule: a resolver that asks for the caller's view ([`super::context::viewer`], [`super::context::require`]) has
//! noted it by that; none can forget it. What cannot be recorded is not answered.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{Context, Response, ServerError, Value, parser::types::OperationType};
use domain::{
    audit::record::Look,
    authz::{Action, Denied},
};
use projections::read_model::Viewer;

use crate::app::{App, Caller, ReadRefused};

/// One note.
#[derive(Clone, Debug, PartialEq)]
enum Note {
    /// A permission was missing.
    Denied(Denied),
    /// Things with these global ids were asked for, in the root field with this response key.
    Things { key: String, ids: Vec<String> },
    /// A list in which everybody's things are.
    List(String),
}

/// The notes of one request. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct AccessNotes(Arc<Mutex<Vec<Note>>>);

impl AccessNotes {
    fn add(context: &Context<'_>, note: Note) {
        if let Some(notes) = context.data_opt::<Self>() {
            let mut noted = notes.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !noted.contains(&note) {
                noted.push(note);
            }
        }
    }

    /// Notes a denial.
    pub(super) fn denied(context: &Context<'_>, denied: &Denied) {
        Self::add(context, Note::Denied(denied.clone()));
    }

    /// Notes that people, or what they did, are read by `action`.
    pub(super) fn required(context: &Context<'_>, action: Action, kind: &str) {
        if matches!(action, Action::UsersRead | Action::AuditRead) {
            Self::add(context, Note::List(kind.to_owned()));
        }
    }

    /// Notes what a field shows to `viewer`. A mutation is on record itself. Below a root field an administrator's look is
    /// noted as that at a list, by the name of the field.
    pub(super) fn viewed(context: &Context<'_>, viewer: &Viewer) {
        if context.query_env.operation.node.ty == OperationType::Mutation {
            return;
        }
        let is_root = context.path_node.is_none_or(|node| node.parent.is_none());
        let field = context.field();
        let ids = if is_root { ids(context) } else { Vec::new() };
        if !ids.is_empty() {
            let key = field.alias().unwrap_or_else(|| field.name()).to_owned();
            Self::add(context, Note::Things { key, ids });
        } else if viewer.sees_everything() {
            Self::add(context, Note::List(field.name().to_owned()));
        }
    }

    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records what was noted. The response as it may be sent: with an error in its place when a query or subscription
    /// could not be recorded; then the notes are kept, and nothing may follow that response.
    pub(super) async fn settle(
        &self,
        app: &App,
        caller: &Caller,
        response: Response,
        operation: OperationType,
    ) -> Result<Response, Response> {
        let notes = self.take();
        if notes.is_empty() {
            return Ok(response);
        }
        match record(app, caller, &notes, &response).await {
            Ok(()) => Ok(response),
            // Done is done, and said; what was denied beside it is counted.
            Err(_) if operation == OperationType::Mutation => Ok(response),
            Err(error) => {
                let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(notes);
                Err(refused(&error))
            }
        }
    }
}

/// The global ids among the arguments of a field.
fn ids(context: &Context<'_>) -> Vec<String> {
    let arguments = context.field().arguments().unwrap_or_default();
    let texts = arguments.into_iter().filter_map(|(_, value)| match value {
        Value::String(text) => Some(text),
        _ => None,
    });
    texts.filter(|text| is_global_id(text)).collect()
}

/// Whether a text has the form of a global id: three letters, `_`, 32 hexadecimal digits.
fn is_global_id(text: &str) -> bool {
    let digits = text.split_once('_').filter(|(prefix, _)| prefix.len() == 3);
    digits.is_some_and(|(_, digits)| {
        digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

async fn record(app: &App, caller: &Caller, notes: &[Note], response: &Response) -> Result<(), ReadRefused> {
    let (mut looks, mut denials) = (Vec::new(), Vec::new());
    for note in notes {
        match note {
            Note::Denied(denied) => denials.push(denied.clone()),
            Note::List(things) => looks.push(Look::List(things.clone())),
            Note::Things { key, ids } => {
                let shown = shows(&response.data, key);
                for id in ids {
                    things(app, caller, id, shown, (&mut looks, &mut denials)).await?;
                }
            }
        }
    }
    app.record_looks(caller, &looks).await?;
    for denied in &denials {
        app.record_denial(caller, denied).await?;
    }
    Ok(())
}

/// Adds what reading a thing was: a look at what belongs to others, a denial, or nothing to record.
async fn things(
    app: &App,
    caller: &Caller,
    id: &str,
    shown: bool,
    (looks, denials): (&mut Vec<Look>, &mut Vec<Denied>),
) -> Result<(), ReadRefused> {
    let (is_administrator, actor) = match caller.user() {
        Some(user) => (
            user.permissions.contains(&Action::SystemAdmin),
            caller.principal.actor(),
        ),
        None => return Ok(()),
    };
    if shown != is_administrator {
        return Ok(()); // of others only what is refused is recorded, of administrators only what is shown
    }
    if shown && app.ports.bounded.is_recorded(&actor, id, app.now()) {
        return Ok(());
    }
    match app.decide_read(caller, id).await? {
        Some(Ok(look)) if shown => looks.extend(look),
        Some(Err(denied)) if !shown => denials.push(denied),
        Some(_) | None => {}
    }
    Ok(())
}

/// Whether the response has something under a key.
fn shows(data: &Value, key: &str) -> bool {
    match data {
        Value::Object(fields) => fields.get(key).is_some_and(|value| *value != Value::Null),
        _ => false,
    }
}

fn refused(error: &ReadRefused) -> Response {
    let mut refused = ServerError::new(error.to_string(), None);
    refused
        .extensions
        .get_or_insert_default()
        .set("code", "UNAVAILABLE");
    Response::from_errors(vec![refused])
}

#[cfg(test)]
mod tests {
    use super::is_global_id;

    #[test]
    fn a_global_id_is_told_by_its_form() {
        assert!(is_global_id("job_0192000000007000800000000000000a"));
        for other in [
            "",
            "job_",
            "job_1",
            "jobs_0192000000007000800000000000000a",
            "COMPLETED",
        ] {
            assert!(!is_global_id(other), "{other}");
        }
    }
}
