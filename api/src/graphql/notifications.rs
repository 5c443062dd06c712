//! What was not delivered: effects of events that were given up, and trying them again (NO-3).
//!
//! One rule: a dead letter shows ids and a reason, never what was to be sent; and trying it again is on record.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use domain::{
    authz::Action,
    id::UserId,
    notifications::delivery::{RedriveDeliveries, RedriveRefusal},
};
use projections::notifications::delivery::{self, DeadLetterRow};
use uuid::Uuid;

use super::{
    context::{app, require, user},
    errors::read_failed,
    mutation::{MutationCall, NoEntity, Payload},
    paging::{Connection, Count, List},
    scalars::{DateTime, Long},
    types::{User, user_by_id},
    user_error::{Problem, UserError, UserErrorCode},
};

/// What permits to see dead letters, and to redrive them.
const RESOURCE: &str = "system";

/// An effect of an event that failed so often that it was given up.
pub struct DeadLetter(DeadLetterRow);

/// An effect of an event, as a mail, that was given up. It is gone from here once it is redriven and done.
#[Object]
impl DeadLetter {
    /// ID of the effect; the same each time it is tried.
    async fn id(&self) -> ID {
        self.0.effect.to_string().into()
    }
    /// Name of the reactor: `<context>.<what for>`.
    async fn reactor(&self) -> &str {
        &self.0.reactor
    }
    /// Kind of the effect: `mail`, `command`, `erasure`; `event` when the event could not be reacted to at all.
    async fn kind(&self) -> &str {
        &self.0.kind
    }
    /// Log position of the event.
    async fn position(&self) -> Long {
        self.0.position.into()
    }
    /// ID of the recipient; null if it is for nobody.
    async fn recipient_id(&self) -> Option<ID> {
        self.0.recipient.clone().map(ID)
    }
    /// The recipient; null if it is for nobody.
    async fn recipient(&self, context: &Context<'_>) -> Result<Option<User>> {
        match self
            .0
            .recipient
            .as_deref()
            .and_then(|id| id.parse::<UserId>().ok())
        {
            Some(id) => user_by_id(context, id).await,
            None => Ok(None),
        }
    }
    /// Number of tries since it was redriven last.
    async fn attempts(&self) -> i32 {
        self.0.attempts
    }
    /// Reason of the last failure.
    async fn reason(&self) -> &str {
        &self.0.failure
    }
    /// When it failed first.
    async fn failed_at(&self) -> DateTime {
        self.0.failed_at.into()
    }
    /// When it was given up.
    async fn given_up_at(&self) -> DateTime {
        self.0.dead_at.into()
    }
}

/// Filter of dead letters; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct DeadLetterFilter {
    /// Of the reactor with this name.
    pub reactor: Option<String>,
}

/// Order of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum DeadLetterOrder {
    /// What failed last first.
    NewestFirst,
    /// What failed first first.
    OldestFirst,
}

/// Queries of what was not delivered.
#[derive(Default)]
pub struct NotificationsQuery;

#[Object]
impl NotificationsQuery {
    /// Effects of events that were given up, as mails that could not be handed over. Requires `system.admin`.
    async fn dead_letters(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all dead letters if omitted.")] filter: Option<DeadLetterFilter>,
        #[graphql(desc = "Order.", default_with = "DeadLetterOrder::NewestFirst")] order: DeadLetterOrder,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<DeadLetter>>> {
        user(context)?;
        require(context, Action::SystemAdmin, RESOURCE)?;
        let oldest_first = order == DeadLetterOrder::OldestFirst;
        let list = List::by_position(match oldest_first {
            true => "deadLetters.oldest",
            false => "deadLetters.newest",
        });
        let request = list.page(first, after.as_deref())?;
        let (pool, reactor) = (
            app(context)?.database.clone(),
            filter.and_then(|filter| filter.reactor),
        );
        let rows = delivery::dead(&pool, reactor.as_deref(), oldest_first, &request).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        let count = Count::with(move || {
            let (pool, reactor) = (pool.clone(), reactor.clone());
            async move {
                let counted = delivery::count_dead(&pool, reactor.as_deref()).await;
                counted.map_err(Arc::new)
            }
        });
        let connection = list.connect(rows, after.as_deref(), count, |row| {
            (row.number.to_string(), DeadLetter(row))
        });
        Ok(Some(connection))
    }
}

/// Has dead letters tried again.
#[derive(InputObject)]
pub struct RedriveDeadLettersInput {
    /// Name of the reactor.
    pub reactor: String,
    /// One of its dead letters; all of them if omitted.
    pub dead_letter_id: Option<ID>,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// Payload of `redriveDeadLetters`.
#[derive(async_graphql::SimpleObject)]
pub struct RedriveDeadLettersPayload {
    /// Log position of the recorded event.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

impl Payload for RedriveDeadLettersPayload {
    type Entity = NoEntity;
    const SHOWN: &'static str = "";
    fn of(
        _: Option<NoEntity>,
        position: Option<domain::event_store::Position>,
        user_errors: Vec<UserError>,
    ) -> Self {
        Self {
            position: position.map(Into::into),
            user_errors,
        }
    }
}

impl Problem for RedriveRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match *self {}
    }
}

/// Changes of what was not delivered.
#[derive(Default)]
pub struct NotificationsMutation;

#[Object]
impl NotificationsMutation {
    /// Has dead letters of a reactor tried again, soon after. Requires `system.admin`.
    async fn redrive_dead_letters(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] input: RedriveDeadLettersInput,
    ) -> Result<Option<RedriveDeadLettersPayload>> {
        let call = MutationCall::signed_in(context, &input)?;
        require(context, Action::SystemAdmin, RESOURCE)?;
        match call.repeated().await? {
            Some(payload) => Ok(Some(payload)),
            None => redrive(call, input).await,
        }
    }
}

/// Records that these dead letters are to be tried again, if there are such.
async fn redrive(
    mut call: MutationCall<'_, '_>,
    input: RedriveDeadLettersInput,
) -> Result<Option<RedriveDeadLettersPayload>> {
    let pool = &call.app().database;
    let reactors = delivery::reactors(pool)
        .await
        .map_err(|error| read_failed(&error))?;
    if !reactors.iter().any(|reactor| reactor.reactor == input.reactor) {
        call.refuse([UserError::absent("reactor")]);
    }
    let mut delivery = None;
    if let Some(id) = &input.dead_letter_id {
        delivery = id.parse::<Uuid>().ok();
        let dead = match delivery {
            Some(id) => delivery::is_dead(pool, &input.reactor, id).await,
            None => Ok(false),
        };
        if !dead.map_err(|error| read_failed(&error))? {
            call.refuse([UserError::absent("deadLetterId")]);
        }
    }
    let command = RedriveDeliveries {
        reactor: input.reactor,
        delivery,
    };
    call.finish(delivery.unwrap_or_default(), &command).await
}
