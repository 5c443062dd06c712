//! The audit log.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use domain::authz::Action;
use projections::audit::{entry::EntryRow, search::AuditFilter as Filter};

use super::{
    context::{app, honor_min_position, require, user, wait_for_position},
    errors::read_failed,
    paging::{Connection, Count, List},
    scalars::{DateTime, JsonValue, Long},
};

/// An entry.
pub struct AuditEntry(pub EntryRow);

/// An event: who did what, when and from where. The event log is the audit log.
#[Object]
impl AuditEntry {
    /// Position in the log.
    async fn position(&self) -> Long {
        self.0.position.into()
    }
    /// ID of the event.
    async fn id(&self) -> ID {
        self.0.event_id.to_string().into()
    }
    /// When it was recorded.
    async fn at(&self) -> DateTime {
        self.0.at.into()
    }
    /// Event type: `<context>.<Event>`.
    async fn kind(&self) -> &str {
        &self.0.kind
    }
    /// Bounded context of the event.
    async fn context(&self) -> &str {
        &self.0.context
    }
    /// The actor: `user:…`, `worker:…`, `system:…` or `anonymous`.
    async fn actor(&self) -> &str {
        &self.0.actor
    }
    /// ID of the resource.
    async fn subject(&self) -> &str {
        &self.0.subject
    }
    /// Stream of the event.
    async fn stream(&self) -> &str {
        &self.0.stream
    }
    /// Revision in the stream, from 0.
    async fn revision(&self) -> Long {
        self.0.revision.into()
    }
    /// Whether the recorded action succeeded.
    async fn outcome(&self) -> AuditOutcome {
        if self.0.outcome == "failure" {
            AuditOutcome::Failure
        } else {
            AuditOutcome::Success
        }
    }
    /// ID of the session of the request.
    async fn session_id(&self) -> Option<ID> {
        self.0.session.clone().map(ID)
    }
    /// ID of the request.
    async fn request_id(&self) -> Option<ID> {
        self.0.request_id.clone().map(ID)
    }
    /// IP address of the caller.
    async fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }
    /// User agent of the caller.
    async fn user_agent(&self) -> Option<&str> {
        self.0.user_agent.as_deref()
    }
    /// The payload; password hashes and tokens are masked.
    async fn data(&self) -> Result<JsonValue> {
        JsonValue::read(&self.0.data)
    }
}

/// Outcome of the recorded action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AuditOutcome {
    /// It succeeded.
    Success,
    /// It was refused or failed.
    Failure,
}

/// Filter; all conditions must match.
#[derive(Default, InputObject)]
pub struct AuditFilter {
    /// Recorded at or after this time.
    pub from: Option<DateTime>,
    /// Recorded before this time.
    pub until: Option<DateTime>,
    /// By this actor, as in `AuditEntry.actor`.
    pub actor: Option<String>,
    /// Event type prefix: `jobs.` or `jobs.JobStarted`.
    pub kind: Option<String>,
    /// ID of the resource.
    pub subject: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Text in the payload, case-insensitive.
    pub text: Option<String>,
}

/// Order of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AuditOrder {
    /// The newest first.
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

impl AuditOrder {
    fn list(self) -> List {
        match self {
            Self::NewestFirst => List::by_position("auditLog.newest"),
            Self::OldestFirst => List::by_position("auditLog.oldest"),
        }
    }
}

/// Queries of the audit log.
#[derive(Default)]
pub struct AuditQuery;

#[Object]
impl AuditQuery {
    /// Entries of the audit log. Requires `audit.read`; without `system.admin`, only entries of the caller's
    /// organization.
    async fn audit_log(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all entries if omitted.")] filter: Option<AuditFilter>,
        #[graphql(desc = "Order of the entries.", default_with = "AuditOrder::NewestFirst")]
        order: AuditOrder,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<AuditEntry>>> {
        require(context, Action::AuditRead, "audit")?;
        let list = order.list();
        let request = list.page(first, after.as_deref())?;
        let given = filter.unwrap_or_default();
        let (from, until) = (given.from.map(|at| at.0), given.until.map(|at| at.0));
        honor_min_position(context, min_position).await?;
        // An auditor sees everything that was recorded when the question came.
        wait_for_position(context, app(context)?.ports.store.known_head()).await?;
        let reader = user(context)?;
        let organization = match reader.permissions.contains(&Action::SystemAdmin) {
            true => None,
            // Who belongs to no organization reads that of nobody.
            false => Some(
                reader
                    .organization
                    .map(|organization| organization.to_string())
                    .unwrap_or_default(),
            ),
        };
        let filter = Filter {
            from,
            until,
            actor: given.actor,
            kind: given.kind,
            subject: given.subject,
            outcome: given.outcome.map(|outcome| match outcome {
                AuditOutcome::Success => "success".to_owned(),
                AuditOutcome::Failure => "failure".to_owned(),
            }),
            text: given.text,
            organization,
        };
        let oldest_first = order == AuditOrder::OldestFirst;
        let rows =
            projections::audit::search::list(&app(context)?.read_models, &filter, oldest_first, &request)
                .await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        // Counting would read the whole log.
        let connection = list.connect(rows, after.as_deref(), Count::NONE, |row| {
            (row.position.to_string(), AuditEntry(row))
        });
        Ok(Some(connection))
    }
}
