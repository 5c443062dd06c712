//! Base models come in, by a job.
//!
//! One rule: what can be refused without reading a model through is refused before it is queued, all at once.

use async_graphql::{Context, InputObject, Object, Result};
use domain::{
    authz::Action,
    id::JobId,
    jobs::{import::ImportModel, job::Import},
    text::Label,
};
use uuid::Uuid;

use crate::{
    app::{FoundModel, ImportError},
    graphql::{
        context::{require, user},
        errors::error_with_code,
        mutation::{MutationCall, payload},
        types::Job,
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
        /// The job that imports it; null on error. Its `model` is there once it is completed.
        job: Job
    }
}

/// Changes of models.
#[derive(Default)]
pub struct ModelsMutation;

#[Object]
impl ModelsMutation {
    /// Queues the import of a base model in Hugging Face layout from a folder on the server: a job that checks, hashes
    /// and stores every file. It takes a place among the caller's concurrent jobs, and room for all its bytes is reserved
    /// in the caller's storage quota. Requires `models.create`, for a public one also `models.share`.
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

/// Looks at the folder, then queues the job.
async fn import(
    mut call: MutationCall<'_, '_>,
    input: ImportModelInput,
) -> Result<Option<ImportModelPayload>> {
    let (app, owner) = (call.app(), user(call.context())?);
    let found = match app.models.look(&input.folder).await {
        Ok(found) => found,
        Err(error) => {
            let texts = Label::try_new(&input.name, &input.description).err();
            call.refuse(texts.into_iter().flat_map(UserErrors::user_errors));
            call.refuse([not_importable(&error)?]);
            return Ok(Some(call.rejected()));
        }
    };
    let FoundModel { files, bytes } = found;
    let command = ImportModel {
        job: call.fresh::<JobId>(),
        model: call.fresh(),
        owner: owner.user,
        name: input.name,
        import: Import {
            folder: input.folder,
            description: input.description,
            visibility: input.visibility.into(),
            bytes,
            files,
        },
        max_attempts: app.settings.job_attempts,
        longest_run_seconds: app.settings.longest_run_seconds,
    };
    call.finish(command.job, &command).await
}

fn not_importable(error: &ImportError) -> Result<UserError> {
    let code = match error {
        ImportError::Off | ImportError::NoFolder => UserErrorCode::NotFound,
        ImportError::NotAModel(_) => UserErrorCode::NotAModel,
        ImportError::Unreadable => return Err(error_with_code("UNAVAILABLE", error.to_string())),
    };
    Ok(UserError::at("folder", error.to_string(), code))
}
