//! Executes requests: the schema with the caller and fresh data loaders per request.

use std::sync::atomic::Ordering;

use async_graphql::{Request, Response, ServerError, Value, parser::types::OperationType};
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};

use super::{AnnealSchema, job_feed::LastPosition, loaders::with_loaders, spec::SpecOptions};
use crate::{
    app::{App, Caller},
    http::graphql::{AuthError, Credentials, Executor, SessionEnd},
};

/// The schema and the application behind it.
#[derive(Clone)]
pub struct SchemaExecutor {
    app: App,
    schema: AnnealSchema,
}

impl SchemaExecutor {
    /// An executor over `app`.
    #[must_use]
    pub fn new(app: App) -> Self {
        let builder = || super::builder().data(app.clone());
        let options = SpecOptions {
            introspection: app.settings.introspection,
            ..super::options()
        };
        Self {
            schema: AnnealSchema::with(builder, options),
            app,
        }
    }

    fn prepare(&self, caller: Caller, request: Request) -> Request {
        with_loaders(request, &self.app).data(caller)
    }
}

/// Whether the request runs a mutation.
fn mutates(request: &mut Request) -> bool {
    let name = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else {
        return false;
    };
    let mut operations = document.operations.iter();
    let chosen = match name {
        Some(name) => operations.find(|(given, _)| given.is_some_and(|given| given.as_str() == name)),
        None => operations.next(),
    };
    chosen.is_some_and(|(_, operation)| operation.node.ty == OperationType::Mutation)
}

fn refusal(error: &AuthError) -> Response {
    let code = match error {
        AuthError::Unauthenticated(_) => "UNAUTHENTICATED",
        AuthError::Forbidden(_) => "FORBIDDEN",
        AuthError::RateLimited { .. } => "RATE_LIMITED",
        AuthError::Unavailable => "UNAVAILABLE",
    };
    let mut refused = ServerError::new(error.to_string(), None);
    refused.extensions.get_or_insert_default().set("code", code);
    Response::from_errors(vec![refused])
}

#[async_trait]
impl Executor for SchemaExecutor {
    type Caller = Caller;

    async fn authenticate(&self, credentials: Credentials) -> Result<Caller, AuthError> {
        self.app.authenticate(&credentials).await
    }

    async fn execute(&self, caller: &Caller, mut request: Request) -> Response {
        // What changes things is decided by the rights at the head of the log, not by what this process
        // happened to know when the token was checked.
        let caller = match mutates(&mut request) {
            true => match self.app.refresh(caller).await {
                Ok(caller) => caller,
                Err(error) => return refusal(&error),
            },
            false => caller.clone(),
        };
        self.schema.execute(self.prepare(caller, request)).await
    }

    fn subscribe(&self, caller: &Caller, request: Request) -> BoxStream<'static, Response> {
        let last = LastPosition::default();
        let request = self.prepare(caller.clone(), request).data(last.clone());
        let responses = self.schema.execute_stream(request);
        responses
            .map(move |mut response| {
                let position = last.0.load(Ordering::Relaxed);
                if response.errors.is_empty() && position > 0 {
                    response
                        .extensions
                        .insert("position".to_owned(), Value::from(position.to_string()));
                }
                response
            })
            .boxed()
    }

    async fn session_end(&self, caller: &Caller) -> SessionEnd {
        let Some(session) = caller.session() else {
            return std::future::pending().await;
        };
        let mut changes = self.app.directory.changes();
        let left = caller
            .expires_at
            .map(|at| at - self.app.now())
            .and_then(|left| left.try_into().ok());
        let expiry = tokio::time::sleep(left.unwrap_or_default());
        tokio::pin!(expiry);
        loop {
            if self.app.directory.session(session, self.app.now()).is_none() {
                return SessionEnd::Revoked("the session has ended".into());
            }
            tokio::select! {
                () = &mut expiry => return SessionEnd::Expired,
                changed = changes.changed() => if changed.is_err() {
                    return SessionEnd::Revoked("the server is shutting down".into());
                },
            }
        }
    }
}
