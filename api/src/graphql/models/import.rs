//! Base models come in.
//!
//! One rule: what can be refused without reading a model through is refused before, all at once.

use async_graphql::{Context, InputObject, Object, Result};
use domain::{
    authz::{Action, UserPrincipal},
    id::ModelId,
    models::model::{RegisterModel, RegisterModelRefusal},
    text::Label,
};
use uuid::Uuid;

use super::Model;
use crate::{
    app::{App, ImportError},
    graphql::{
        context::{ledger, require, user},
        errors::error_with_code,
        mutation::{Ended, MutationCall, payload},
        user_error::{UserError, UserErrorCode, UserErrors},
        visibility::Visibility,
    },
};

/// A base model in a folder on the server.
#[derive(InputObject)]
pub struct ImportModelInput {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[graphql(default)]
    pub description: String,
    /// Name of the subfolder of the import folder (`models.folder` of the configuration).
    pub folder: String,
    /// Visibility; private if omitted.
    #[graphql(default_with = "Visibility::Private")]
    pub visibility: Visibility,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `importModel`.
    ImportModelPayload {
        /// The model; null on error.
        model: Model
    }
}

/// Changes of models.
#[derive(Default)]
pub struct ModelsMutation;

#[Object]
impl ModelsMutation {
    /// Imports a base model in Hugging Face layout from a folder on the server: every file is checked, hashed and
    /// stored. It counts against the caller's storage quota. Requires `models.create`, for a public one also `models.share`.
    async fn import_model(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The folder and the name of the model.")] input: ImportModelInput,
    ) -> Result<Option<ImportModelPayload>> {
        let call = MutationCall::signed_in(context, &input)?;
        require(context, Action::ModelsCreate, "models")?;
        if input.visibility == Visibility::Public {
            require(context, Action::ModelsShare, "models")?;
        }
        match call.repeated().await? {
            Some(payload) => Ok(Some(payload)),
            None => import(call, input).await,
        }
    }
}

/// Checks, hashes and stores the files, then records the model. Files that no recorded model has are thrown away.
async fn import(
    mut call: MutationCall<'_, '_>,
    input: ImportModelInput,
) -> Result<Option<ImportModelPayload>> {
    let (app, owner) = (call.app(), user(call.context())?);
    call.refuse(wrong_at_once(app, owner, &input).await?);
    if call.is_wrong() {
        return Ok(Some(call.rejected()));
    }
    let model: ModelId = call.fresh();
    let version = match app.importer.import(model, &input.folder).await {
        Ok(version) => version,
        Err(error) => {
            call.refuse([not_imported(&error)?]);
            return Ok(Some(call.rejected()));
        }
    };
    let command = RegisterModel {
        model,
        owner: owner.user,
        name: input.name,
        description: input.description,
        visibility: input.visibility.into(),
        version,
    };
    let ended = call.execute::<Model, _>(model, &command).await?;
    let recorded = match &ended {
        Ended::Done { entity, .. } => *entity == model.0,
        // An id that nobody else could have made is taken: by this very model, and the answer was lost.
        Ended::Refused(refusal) => *refusal == RegisterModelRefusal::IdTaken,
        Ended::Wrong(_) | Ended::Stale(_) => false,
    };
    if !recorded {
        app.importer.discard(model, &command.version).await;
    }
    call.answer(ended).await
}

/// What is wrong before a file is read: texts, the folder's name, its size. Decided again when it is recorded.
async fn wrong_at_once(app: &App, owner: &UserPrincipal, input: &ImportModelInput) -> Result<Vec<UserError>> {
    let mut wrong = match Label::try_new(&input.name, &input.description) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.user_errors(),
    };
    match app.importer.bytes(&input.folder).await {
        Ok(bytes) => {
            let ledger = ledger(app, owner.user).await?;
            if let Err(exceeded) = ledger.storage_left(&owner.quotas, bytes, app.now(), None) {
                wrong.extend(RegisterModelRefusal::Storage(exceeded).user_errors());
            }
        }
        Err(error) => wrong.push(not_imported(&error)?),
    }
    Ok(wrong)
}

fn not_imported(error: &ImportError) -> Result<UserError> {
    let code = match error {
        ImportError::Off | ImportError::NoFolder => UserErrorCode::NotFound,
        ImportError::NotAModel(_) => UserErrorCode::NotAModel,
        ImportError::Storage => return Err(error_with_code("UNAVAILABLE", error.to_string())),
    };
    Ok(UserError::at("folder", error.to_string(), code))
}

impl UserErrors for RegisterModelRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let message = self.to_string();
        match self {
            Self::Text(problems) => problems.user_errors(),
            Self::Storage(_) => vec![UserError::at("folder", message, UserErrorCode::QuotaExceeded)],
            Self::IdTaken => vec![UserError::whole(message, UserErrorCode::Invalid)],
        }
    }
}
