//! Erasing a person, and the receipt (AU-7).

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    authz::Action,
    id::UserId,
    identity::{
        erasure::{ErasePerson, EraseRefusal},
        user::{ErasureReason as Reason, ErasureReceipt},
    },
};
use projections::identity::erasure::{self, ErasureRow};
use time::OffsetDateTime;

use super::types::Errors;
use crate::{
    graphql::{
        context::{Outcome, app, at_least, coded, reach, require, run, unreadable, user},
        scalars::Long,
        user_error::{UserError, UserErrorCode},
    },
    sessions,
};

/// On what ground a person is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Reason")]
pub enum ErasureReason {
    /// The person asked for it.
    Requested,
    /// The time for which the data may be kept is over.
    RetentionEnded,
    /// A law or a court orders it.
    LegalObligation,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ErasureState {
    /// Decided: the account is off, its key and its rows are being removed.
    UnderWay,
    /// The key is destroyed, and no read model shows what it sealed.
    Completed,
}

/// An erasure.
pub struct Erasure(ErasureRow);

impl Erasure {
    fn receipt(&self) -> Option<&ErasureReceipt> {
        self.0.receipt.as_ref()
    }
}

/// The erasure of one person: who decided it, and what was done.
#[Object]
impl Erasure {
    /// The person, by id.
    async fn user_id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// How far it is.
    async fn state(&self) -> ErasureState {
        match self.0.receipt {
            Some(_) => ErasureState::Completed,
            None => ErasureState::UnderWay,
        }
    }
    /// On what ground.
    async fn reason(&self) -> ErasureReason {
        self.0.reason.into()
    }
    /// Who decided it, as in the audit log.
    async fn requested_by(&self) -> &str {
        &self.0.requested_by
    }
    /// When it was decided.
    async fn requested_at(&self) -> OffsetDateTime {
        self.0.requested_at
    }
    /// When the receipt was recorded; null while it is under way.
    async fn completed_at(&self) -> Option<OffsetDateTime> {
        self.0.completed_at
    }
    /// When the person's key was destroyed; null while it is under way.
    async fn key_destroyed_at(&self) -> Option<OffsetDateTime> {
        self.receipt().map(|receipt| receipt.destroyed_at)
    }
    /// When the person's key was made; null when there never was one.
    async fn key_made_at(&self) -> Option<OffsetDateTime> {
        self.receipt().and_then(|receipt| receipt.key_made_at)
    }
    /// Which key wrapped the person's key; null when there never was one.
    async fn key_id(&self) -> Option<&str> {
        self.receipt().and_then(|receipt| receipt.key_id.as_deref())
    }
    /// The read models that were rebuilt afterwards.
    async fn rebuilt(&self) -> &[String] {
        self.receipt().map_or(&[], |receipt| &receipt.rebuilt)
    }
}

/// The person to erase.
#[derive(InputObject)]
pub struct ErasePersonInput {
    /// The account.
    pub user_id: ID,
    /// On what ground; recorded.
    pub reason: ErasureReason,
}

/// What came of an erasure.
#[derive(SimpleObject)]
pub struct ErasePersonPayload {
    /// The erasure; null when nothing was done.
    pub erasure: Option<Erasure>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Errors,
}

fn refused(path: &str, message: impl Into<String>, code: UserErrorCode) -> ErasePersonPayload {
    ErasePersonPayload {
        erasure: None,
        position: None,
        user_errors: vec![UserError::at(path, message, code)],
    }
}

fn said(reason: EraseRefusal) -> ErasePersonPayload {
    let code = match reason {
        EraseRefusal::OwnAccount => UserErrorCode::OwnAccount,
        EraseRefusal::LastAdministrator => UserErrorCode::LastAdministrator,
    };
    refused("userId", reason.to_string(), code)
}

async fn find(context: &Context<'_>, person: UserId) -> Result<Option<Erasure>> {
    let row = erasure::find(&app(context)?.pool, person).await;
    Ok(row.map_err(|error| unreadable(&error))?.map(Erasure))
}

/// Queries about erasures.
#[derive(Default)]
pub struct ErasureQuery;

#[Object]
impl ErasureQuery {
    /// The erasure of a person; null when nobody decided one. Needs `users.read`.
    async fn erasure(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account.")] user_id: ID,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Option<Erasure>> {
        require(context, Action::UsersRead, "users")?;
        at_least(context, min_position).await?;
        match user_id.parse::<UserId>() {
            Ok(person) => find(context, person).await,
            Err(error) => Err(coded("BAD_USER_INPUT", error.to_string())),
        }
    }
}

/// Erasing.
#[derive(Default)]
pub struct ErasureMutation;

#[Object]
impl ErasureMutation {
    /// Erases a person for good: the account is switched off, its name and address are free again, and the key
    /// of its personal data is destroyed. Cannot be undone. Needs `users.delete`.
    async fn erase_person(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Account, and on what ground.")] input: ErasePersonInput,
    ) -> Result<ErasePersonPayload> {
        user(context)?;
        let person = match input.user_id.parse::<UserId>() {
            Ok(person) => person,
            Err(error) => return Ok(refused("userId", error.to_string(), UserErrorCode::Invalid)),
        };
        let position = match run(context, &command(context, person, input.reason).await?).await? {
            Outcome::Done(position) => position,
            Outcome::Refused(reason) => return Ok(said(reason)),
            Outcome::NotFound => {
                return Ok(refused(
                    "userId",
                    "there is no such user",
                    UserErrorCode::NotFound,
                ));
            }
        };
        reach(context, position).await?;
        Ok(ErasePersonPayload {
            erasure: find(context, person).await?,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }
}

async fn command(context: &Context<'_>, user: UserId, reason: ErasureReason) -> Result<ErasePerson> {
    let claims = sessions::claims_of(app(context)?, user).await;
    let (username_claim, email_claim) = claims.map_err(|error| coded(error.code(), error.to_string()))?;
    Ok(ErasePerson {
        user,
        reason: reason.into(),
        username_claim,
        email_claim,
    })
}
