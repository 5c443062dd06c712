//! Erasing a person, and the receipt (AU-7).

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use domain::{
    authz::Action,
    id::UserId,
    identity::{
        erasure::{ErasePerson, EraseRefusal},
        user::{ErasureReason as Reason, ErasureReceipt},
    },
};
use projections::identity::erasure::{self, ErasureRow};
use uuid::Uuid;

use crate::{
    graphql::{
        context::{app, honor_min_position, require},
        errors::{error_with_code, read_failed},
        mutation::{Entity, MutationCall, payload},
        scalars::{DateTime, Long},
        types::{User, user_by_id},
        user_error::{Problem, UserErrorCode},
    },
    sessions,
};

/// Legal basis of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Reason")]
pub enum ErasureReason {
    /// The person requested it.
    Requested,
    /// The retention period has ended.
    RetentionEnded,
    /// A legal obligation.
    LegalObligation,
}

/// Progress of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ErasureState {
    /// The account is disabled; key and personal data are being removed.
    UnderWay,
    /// The key is destroyed, and the read models no longer contain personal data.
    Completed,
}

/// An erasure.
pub struct Erasure(ErasureRow);

impl Erasure {
    fn receipt(&self) -> Option<&ErasureReceipt> {
        self.0.receipt.as_ref()
    }
}

/// The erasure of a person.
#[Object]
impl Erasure {
    /// ID of the erased user.
    async fn user_id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// The erased user; null if the caller may not read the account.
    async fn user(&self, context: &Context<'_>) -> Result<Option<User>> {
        user_by_id(context, self.0.id).await
    }
    /// Progress of the erasure.
    async fn state(&self) -> ErasureState {
        match self.0.receipt {
            Some(_) => ErasureState::Completed,
            None => ErasureState::UnderWay,
        }
    }
    /// Legal basis.
    async fn reason(&self) -> ErasureReason {
        self.0.reason.into()
    }
    /// The actor who requested it, as in the audit log.
    async fn requested_by(&self) -> &str {
        &self.0.requested_by
    }
    /// When it was requested.
    async fn requested_at(&self) -> DateTime {
        self.0.requested_at.into()
    }
    /// When the erasure was completed; null while in progress.
    async fn completed_at(&self) -> Option<DateTime> {
        self.0.completed_at.map(DateTime)
    }
    /// When the person's key was destroyed; null while in progress.
    async fn key_destroyed_at(&self) -> Option<DateTime> {
        self.receipt().map(|receipt| receipt.destroyed_at.into())
    }
    /// When the person's key was created; null if there never was one.
    async fn key_made_at(&self) -> Option<DateTime> {
        self.receipt()
            .and_then(|receipt| receipt.key_made_at)
            .map(DateTime)
    }
    /// ID of the wrapping key; null if the person never had a key.
    async fn key_id(&self) -> Option<ID> {
        self.receipt().and_then(|receipt| receipt.key_id.clone()).map(ID)
    }
    /// Names of the read models that were rebuilt.
    async fn rebuilt(&self) -> &[String] {
        self.receipt().map_or(&[], |receipt| &receipt.rebuilt)
    }
}

/// The person to erase.
#[derive(InputObject)]
pub struct ErasePersonInput {
    /// The account.
    pub user_id: ID,
    /// Legal basis; recorded in the log.
    pub reason: ErasureReason,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `erasePerson`.
    ErasePersonPayload {
        /// The erasure; null on error, or if the caller may not read it.
        erasure: Erasure
    }
}

impl Entity for Erasure {
    type Id = UserId;
    async fn load(context: &Context<'_>, person: UserId) -> Result<Option<Self>> {
        match require(context, Action::UsersRead, "users") {
            Ok(()) => find(context, person).await,
            Err(_) => Ok(None),
        }
    }
}

impl Problem for EraseRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        let code = match self {
            Self::OwnAccount => UserErrorCode::OwnAccount,
            Self::LastAdministrator => UserErrorCode::LastAdministrator,
        };
        ("userId", code)
    }
}

async fn find(context: &Context<'_>, person: UserId) -> Result<Option<Erasure>> {
    let row = erasure::find(&app(context)?.read_models, person).await;
    Ok(row.map_err(|error| read_failed(&error))?.map(Erasure))
}

/// Queries about erasures.
#[derive(Default)]
pub struct ErasureQuery;

#[Object]
impl ErasureQuery {
    /// The erasure of a person; null if none was requested. Requires `users.read`.
    async fn erasure(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account.")] user_id: ID,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Erasure>> {
        require(context, Action::UsersRead, "users")?;
        honor_min_position(context, min_position).await?;
        match user_id.parse::<UserId>() {
            Ok(person) => find(context, person).await,
            Err(error) => Err(error_with_code("BAD_USER_INPUT", error.to_string())),
        }
    }
}

/// Erasing.
#[derive(Default)]
pub struct ErasureMutation;

#[Object]
impl ErasureMutation {
    /// Erases a person irreversibly: the account is disabled, its username and e-mail address are released, and the
    /// key of its personal data is destroyed. Requires `users.delete`.
    async fn erase_person(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account and the legal basis.")] input: ErasePersonInput,
    ) -> Result<Option<ErasePersonPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let person = call.id("userId", &input.user_id);
        let command = command(context, person, input.reason).await?;
        call.finish(person, &command).await
    }
}

async fn command(context: &Context<'_>, user: UserId, reason: ErasureReason) -> Result<ErasePerson> {
    let keys = sessions::reservation_keys_of(app(context)?, user).await;
    let (username_reservation, email_reservation) =
        keys.map_err(|error| error_with_code(error.code(), error.to_string()))?;
    Ok(ErasePerson {
        user,
        reason: reason.into(),
        username_reservation,
        email_reservation,
    })
}
