//! Base models come in.
//!
//! One rule: what can be refused without reading a model through is refused before, all at once.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use domain::{
    authz::{Action, UserPrincipal},
    id::ModelId,
    models::model::{RegisterModel, RegisterModelRefusal},
    text::{Label, TextProblem},
};
use projections::{history::AsOf, models::model::Models};

use super::Model;
use crate::{
    app::{App, ImportError},
    graphql::{
        context::{Outcome, app, ledger, require, run, user, wait_for_position},
        errors::error_with_code,
        reads,
        scalars::Long,
        user_error::{UserError, UserErrorCode},
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
}

/// Payload of `importModel`.
#[derive(SimpleObject)]
pub struct ImportModelPayload {
    /// The model; null on error.
    pub model: Option<Model>,
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

impl ImportModelPayload {
    fn wrong(user_errors: Vec<UserError>) -> Self {
        Self {
            model: None,
            position: None,
            user_errors,
        }
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
    ) -> Result<ImportModelPayload> {
        let owner = user(context)?;
        require(context, Action::ModelsCreate, "models")?;
        if input.visibility == Visibility::Public {
            require(context, Action::ModelsShare, "models")?;
        }
        let app = app(context)?;
        let wrong = wrong_at_once(app, owner, &input).await?;
        if !wrong.is_empty() {
            return Ok(ImportModelPayload::wrong(wrong));
        }
        let model = ModelId(app.ports.ids.next());
        let version = match app.importer.import(model, &input.folder).await {
            Ok(version) => version,
            Err(error) => return Ok(ImportModelPayload::wrong(vec![not_imported(&error)?])),
        };
        let (name, description, visibility) = (input.name, input.description, input.visibility.into());
        let command = RegisterModel {
            model,
            owner: owner.user,
            name,
            description,
            visibility,
            version,
        };
        let position = match run(context, &command).await? {
            Outcome::Done(position) => position,
            Outcome::Refused(refusal) => {
                // An id that nobody else could have made is taken: by this very model, and the answer was lost.
                if refusal != RegisterModelRefusal::IdTaken {
                    app.importer.discard(model, &command.version).await;
                }
                return Ok(ImportModelPayload::wrong(user_errors(refusal)));
            }
            Outcome::NotFound => return Err(error_with_code("NOT_FOUND", "not found")),
        };
        wait_for_position(context, position).await?;
        let model = reads::find::<Models>(context, AsOf::Now, model.0)
            .await?
            .map(Model::now);
        Ok(ImportModelPayload {
            model,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }
}

/// What is wrong before a file is read: texts, the folder's name, its size. Decided again when it is recorded.
async fn wrong_at_once(app: &App, owner: &UserPrincipal, input: &ImportModelInput) -> Result<Vec<UserError>> {
    let mut wrong = match Label::try_new(&input.name, &input.description) {
        Ok(_) => Vec::new(),
        Err(problems) => user_errors(RegisterModelRefusal::Text(problems)),
    };
    match app.importer.bytes(&input.folder).await {
        Ok(bytes) => {
            let ledger = ledger(app, owner.user).await?;
            if let Err(exceeded) = ledger.storage_left(&owner.quotas, bytes) {
                wrong.extend(user_errors(RegisterModelRefusal::Storage(exceeded)));
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

fn user_errors(refusal: RegisterModelRefusal) -> Vec<UserError> {
    match refusal {
        RegisterModelRefusal::Text(problems) => {
            let user_error =
                |problem: TextProblem| UserError::at(problem.field, problem.message, UserErrorCode::Invalid);
            problems.0.into_iter().map(user_error).collect()
        }
        RegisterModelRefusal::Storage(exceeded) => {
            let said = exceeded.to_string();
            vec![UserError::at("folder", said, UserErrorCode::QuotaExceeded)]
        }
        RegisterModelRefusal::IdTaken => vec![UserError::whole(refusal.to_string(), UserErrorCode::Invalid)],
    }
}
