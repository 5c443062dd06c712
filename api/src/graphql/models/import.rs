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

use super::Model;
use crate::{
    app::{App, ImportError},
    graphql::{
        context::{Outcome, app, coded, ledger, reach, require, run, unreadable, user, viewer},
        scalars::Long,
        user_error::{UserError, UserErrorCode},
        visibility::Visibility,
    },
};

/// A base model in a folder of the server.
#[derive(InputObject)]
pub struct ImportModelInput {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[graphql(default)]
    pub description: String,
    /// Name of the subfolder of the import folder (`models.folder` of the configuration).
    pub folder: String,
    /// Who else sees it; nobody if not given.
    #[graphql(default_with = "Visibility::Private")]
    pub visibility: Visibility,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct ImportModelPayload {
    /// The model; null when there is none.
    pub model: Option<Model>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
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
    /// Brings a base model in from a folder of the server, in Hugging Face layout: every file is checked,
    /// hashed and stored. It counts against the caller's storage quota. Needs `models.create`.
    async fn import_model(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The folder, and what the model is called.")] input: ImportModelInput,
    ) -> Result<ImportModelPayload> {
        let owner = user(context)?;
        require(context, Action::ModelsCreate, "models")?;
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
                return Ok(ImportModelPayload::wrong(faults(refusal)));
            }
            Outcome::NotFound => return Err(coded("NOT_FOUND", "not found")),
        };
        reach(context, position).await?;
        let row = projections::models::model::find(&app.pool, viewer(context)?, model).await;
        let model = row.map_err(|error| unreadable(&error))?.map(Model);
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
        Err(problems) => faults(RegisterModelRefusal::Text(problems)),
    };
    match app.importer.bytes(&input.folder).await {
        Ok(bytes) => {
            let ledger = ledger(app, owner.user).await?;
            if let Err(exceeded) = ledger.storage_left(&owner.quotas, bytes) {
                wrong.extend(faults(RegisterModelRefusal::Storage(exceeded)));
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
        ImportError::Storage => return Err(coded("UNAVAILABLE", error.to_string())),
    };
    Ok(UserError::at("folder", error.to_string(), code))
}

fn faults(refusal: RegisterModelRefusal) -> Vec<UserError> {
    match refusal {
        RegisterModelRefusal::Text(problems) => {
            let fault =
                |problem: TextProblem| UserError::at(problem.field, problem.message, UserErrorCode::Invalid);
            problems.0.into_iter().map(fault).collect()
        }
        RegisterModelRefusal::Storage(exceeded) => {
            let said = exceeded.to_string();
            vec![UserError::at("folder", said, UserErrorCode::QuotaExceeded)]
        }
        RegisterModelRefusal::IdTaken => vec![UserError::whole(refusal.to_string(), UserErrorCode::Invalid)],
    }
}
