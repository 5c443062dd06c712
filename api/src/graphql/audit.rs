//! The audit log.

use async_graphql::{Context, Enum, ID, InputObject, Json, Object, Result, connection::Connection};
use domain::authz::Action;
use projections::audit::entry::{AuditFilter as Filter, EntryRow};
use time::OffsetDateTime;

use super::{
    context::{app, at_least, reach, require, unreadable, user},
    paging::{connect, page_by_position, weight},
    scalars::Long,
};

/// An entry.
pub struct AuditEntry(pub EntryRow);

/// An event, with who, when, from where and what it is about. The event log is the audit log.
#[Object]
impl AuditEntry {
    /// Position in the log.
    async fn position(&self) -> Long {
        self.0.position.into()
    }
    /// Id of the event.
    async fn id(&self) -> ID {
        self.0.event_id.to_string().into()
    }
    /// When it was recorded.
    async fn at(&self) -> OffsetDateTime {
        self.0.at
    }
    /// What happened: `<context>.<Event>`.
    async fn kind(&self) -> &str {
        &self.0.kind
    }
    /// The part of the system that it belongs to.
    async fn context(&self) -> &str {
        &self.0.context
    }
    /// Who did it: `user:…`, `worker:…`, `system:…` or `anonymous`.
    async fn actor(&self) -> &str {
        &self.0.actor
    }
    /// What it is about.
    async fn subject(&self) -> &str {
        &self.0.subject
    }
    /// Stream in the log.
    async fn stream(&self) -> &str {
        &self.0.stream
    }
    /// Revision in the stream, from 0.
    async fn revision(&self) -> Long {
        self.0.revision.into()
    }
    /// Whether it records a success or a refusal or failure.
    async fn outcome(&self) -> AuditOutcome {
        if self.0.outcome == "failure" {
            AuditOutcome::Failure
        } else {
            AuditOutcome::Success
        }
    }
    /// The session of the request.
    async fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }
    /// The request.
    async fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }
    /// Address of the caller.
    async fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }
    /// User agent of the caller.
    async fn user_agent(&self) -> Option<&str> {
        self.0.user_agent.as_deref()
    }
    /// The payload; what verifies secrets is masked.
    async fn data(&self) -> Json<&serde_json::Value> {
        Json(&self.0.data)
    }
}

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AuditOutcome {
    /// Done.
    Success,
    /// Refused or failed.
    Failure,
}

/// Which entries are wanted; all conditions hold together.
#[derive(Default, InputObject)]
pub struct AuditFilter {
    /// Recorded not before this.
    pub from: Option<OffsetDateTime>,
    /// Recorded before this.
    pub until: Option<OffsetDateTime>,
    /// By this actor, as shown in an entry.
    pub actor: Option<String>,
    /// Of a kind that starts so: `jobs.` or `jobs.JobStarted`.
    pub kind: Option<String>,
    /// About this resource, by id.
    pub subject: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// With this text in the payload, without regard to case.
    pub text: Option<String>,
}

/// From which end the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AuditOrder {
    /// The newest first.
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// Queries of the audit log.
#[derive(Default)]
pub struct AuditQuery;

#[Object]
impl AuditQuery {
    /// Entries of the audit log. Needs `audit.read`; without `system.admin` only those of one's own
    /// organisation.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn audit_log(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which entries; all if not given.")] filter: Option<AuditFilter>,
        #[graphql(desc = "From which end.", default_with = "AuditOrder::NewestFirst")] order: AuditOrder,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Connection<String, AuditEntry>> {
        require(context, Action::AuditRead, "audit")?;
        let request = page_by_position(first, after.as_deref())?;
        at_least(context, min_position).await?;
        // An auditor sees everything that was recorded when the question came.
        reach(context, app(context)?.ports.store.known_head()).await?;
        let reader = user(context)?;
        let organization = match reader.permissions.contains(&Action::SystemAdmin) {
            true => None,
            // Who belongs to no organisation reads that of nobody.
            false => Some(
                reader
                    .organization
                    .map(|organization| organization.to_string())
                    .unwrap_or_default(),
            ),
        };
        let given = filter.unwrap_or_default();
        let filter = Filter {
            from: given.from,
            until: given.until,
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
            projections::audit::entry::list(&app(context)?.pool, &filter, oldest_first, &request).await;
        let rows = rows.map_err(|error| unreadable(&error))?;
        Ok(connect(rows, after.as_deref(), |row| {
            (row.position.to_string(), AuditEntry(row))
        }))
    }
}
