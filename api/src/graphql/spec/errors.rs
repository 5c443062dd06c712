//! Errors at their place, and null where it may stand (6.4.4, "Handling Field Errors").
//!
//! The library hands an error to the parent even where the field itself may be null, and overwrites its path on
//! the way through a list. So an error is recorded once, where it arises, and only a mark goes up, to the first
//! place that may be null.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, NextValidation, ResolveInfo,
};
use async_graphql::{
    CacheControl, PathSegment, QueryPathNode, QueryPathSegment, Response, ServerError, ServerResult,
    ValidationResult, Value,
};

/// In a request's data: validate it, and run nothing.
pub(super) struct JudgeOnly;

/// The extension that does it; an instance for each request.
pub(super) struct Propagation;

impl ExtensionFactory for Propagation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Recorder::default())
    }
}

#[derive(Default)]
struct Recorder {
    /// The errors of the response that is being made.
    errors: Mutex<Vec<ServerError>>,
}

/// The source of an error that is recorded already and only on its way up.
struct Recorded;

#[async_trait::async_trait]
impl Extension for Recorder {
    /// The library computes the complexity of every operation of a document and complains of each variable
    /// without a value, also of those that may be omitted or belong to operations that are not run. What an
    /// operation costs is measured apart from that, in `cost`.
    async fn validation(
        &self,
        context: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(context).await;
        let mut errors = match result {
            Ok(valid) => return Ok(valid),
            Err(errors) => errors,
        };
        errors.retain(|error| !is_about_complexity(error));
        // The library walks the document twice, and each walk says what it finds.
        let mut known = Vec::new();
        errors.retain(|error| {
            let found = (error.message.clone(), error.locations.clone());
            let new = !known.contains(&found);
            known.push(found);
            new
        });
        if errors.is_empty() {
            return Ok(ValidationResult {
                cache_control: CacheControl::default(),
                complexity: 0,
                depth: 0,
            });
        }
        Err(errors)
    }

    async fn execute(
        &self,
        context: &ExtensionContext<'_>,
        name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        if context.data_opt::<JudgeOnly>().is_some() {
            return Response::default();
        }
        let mut response = next.run(context, name).await;
        response
            .errors
            .retain(|error| error.source::<Recorded>().is_none());
        let mut recorded = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        response.errors.append(&mut recorded);
        response
    }

    async fn resolve(
        &self,
        context: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let path = info.path_node;
        let nullable = !info.return_type.ends_with('!');
        let error = match next.run(context, info).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.source::<Recorded>().is_none() {
            let mut recorded = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.push(ServerError {
                path: place(path),
                ..error
            });
        }
        if nullable {
            return Ok(Some(Value::Null));
        }
        let mut mark = ServerError::new(String::new(), None);
        mark.source = Some(Arc::new(Recorded));
        Err(mark)
    }
}

/// Whether the library could not compute a complexity for want of a variable's value. A variable that the
/// operation does not declare is an error of other words, with a dollar sign.
fn is_about_complexity(error: &ServerError) -> bool {
    let name = error.message.strip_prefix("Variable ");
    let name = name.and_then(|rest| rest.strip_suffix(" is not defined."));
    name.is_some_and(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn place(node: &QueryPathNode<'_>) -> Vec<PathSegment> {
    let mut place: Vec<PathSegment> = Vec::new();
    let mut next = Some(node);
    while let Some(node) = next {
        place.push(match &node.segment {
            QueryPathSegment::Name(name) => PathSegment::Field((*name).to_owned()),
            QueryPathSegment::Index(index) => PathSegment::Index(*index),
        });
        next = node.parent;
    }
    place.reverse();
    place
}
