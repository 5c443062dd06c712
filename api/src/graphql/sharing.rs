//! Sharing: giving access to models, and taking it back (PR-5).
//!
//! One rule: what is given stands in the access list; what it allows is decided elsewhere.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::{
    authz::{Party, Share},
    models::model::Model as SharedModel,
    sharing::grant::{AccessProblem, GrantAccess, RevokeAccess},
};
use uuid::Uuid;

use super::{
    context::user,
    mutation::{MutationCall, payload},
    scalars::DateTime,
    types::{AccessRole, Model},
    user_error::{Problem, UserErrorCode},
};

/// Gives somebody access to a model.
#[derive(InputObject)]
pub struct ShareModelInput {
    /// The model.
    pub model_id: ID,
    /// ID of a user, of a project that the caller sees, or of the caller's organization.
    pub party_id: ID,
    /// `VIEWER` or `EDITOR`; replaces the role that the party has.
    pub role: AccessRole,
    /// When it ends; until it is revoked if omitted.
    pub until: Option<DateTime>,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

/// Takes access to a model back.
#[derive(InputObject)]
pub struct RevokeModelAccessInput {
    /// The model.
    pub model_id: ID,
    /// ID of the user, project or organization. Everybody may give up their own access.
    pub party_id: ID,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `shareModel` and `revokeModelAccess`.
    ModelAccessPayload {
        /// The model; null on error, or if the caller has lost access to it.
        model: Model
    }
}

impl Problem for AccessProblem {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::UnknownParty(_) | Self::NotOnTheList => ("partyId", UserErrorCode::NotFound),
            Self::Founder | Self::UsersOnly(_) | Self::Full => ("partyId", UserErrorCode::Invalid),
            Self::Role(..) => ("role", UserErrorCode::Invalid),
            Self::Expired => ("until", UserErrorCode::Invalid),
        }
    }
}

/// Changes of access lists.
#[derive(Default)]
pub struct SharingMutation;

#[Object]
impl SharingMutation {
    /// Gives a user, project or organization access to a model, or changes it. Requires `models.share` and a part in the
    /// model that includes it: its owner's, or an administrator's.
    async fn share_model(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The model, the party and its role.")] input: ShareModelInput,
    ) -> Result<Option<ModelAccessPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let command = GrantAccess::<SharedModel> {
            resource: call.id("modelId", &input.model_id),
            share: Share {
                party: call.id_or("partyId", &input.party_id, Party::NOBODY),
                role: input.role.into(),
                until: input.until.map(|until| until.0),
                by: user(context)?.user,
            },
        };
        call.finish(command.resource, &command).await
    }

    /// Takes the access of a user, project or organization to a model back. Requires what `shareModel` does; everybody may
    /// give up their own. Running downloads end.
    async fn revoke_model_access(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The model and the party.")] input: RevokeModelAccessInput,
    ) -> Result<Option<ModelAccessPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let party = call.id_or("partyId", &input.party_id, Party::NOBODY);
        let command = RevokeAccess::<SharedModel> {
            resource: call.id("modelId", &input.model_id),
            party,
            own: party == Party::User(user(context)?.user),
        };
        call.finish(command.resource, &command).await
    }
}
