//! Sharing: giving access to models, and taking it back (PR-5).
//!
//! One rule: what is given stands in the access list; what it allows is decided elsewhere.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::{
    authz::{Party, Share},
    id::UserId,
    models::model::Model as SharedModel,
    sharing::grant::{GrantAccess, GrantProblem, GrantRefusal, NotOnTheList, RevokeAccess},
};
use uuid::Uuid;

use super::{
    context::user,
    mutation::{MutationCall, payload},
    scalars::DateTime,
    types::{AccessRole, Model},
    user_error::{UserError, UserErrorCode, UserErrors},
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

impl UserErrors for GrantRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let error = |problem: GrantProblem| {
            let (path, code) = match problem {
                GrantProblem::UnknownParty(_) => ("partyId", UserErrorCode::NotFound),
                GrantProblem::Founder | GrantProblem::UsersOnly(_) | GrantProblem::Full => {
                    ("partyId", UserErrorCode::Invalid)
                }
                GrantProblem::Role { .. } => ("role", UserErrorCode::Invalid),
                GrantProblem::Expired => ("until", UserErrorCode::Invalid),
            };
            UserError::at(path, problem.to_string(), code)
        };
        self.0.into_iter().map(error).collect()
    }
}

impl UserErrors for NotOnTheList {
    fn user_errors(self) -> Vec<UserError> {
        vec![UserError::at(
            "partyId",
            self.to_string(),
            UserErrorCode::NotFound,
        )]
    }
}

/// The party that an id names; the call is told of one that names none.
fn party(call: &mut MutationCall<'_, '_>, id: &ID) -> Party {
    id.parse().unwrap_or_else(|_| {
        call.refuse([UserError::absent("partyId")]);
        Party::User(UserId(Uuid::nil()))
    })
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
                party: party(&mut call, &input.party_id),
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
        let party = party(&mut call, &input.party_id);
        let command = RevokeAccess::<SharedModel> {
            resource: call.id("modelId", &input.model_id),
            party,
            own: party == Party::User(user(context)?.user),
        };
        call.finish(command.resource, &command).await
    }
}
