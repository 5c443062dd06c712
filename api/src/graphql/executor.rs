//! Executes requests: the schema with the caller and fresh data loaders per request.

use std::sync::atomic::Ordering;

use async_graphql::{Request, Response, Value};
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

#[async_trait]
impl Executor for SchemaExecutor {
    type Caller = Caller;

    async fn authenticate(&self, credentials: Credentials) -> Result<Caller, AuthError> {
        self.app.authenticate(&credentials).await
    }

    async fn refresh(&self, caller: &Caller) -> Result<Caller, AuthError> {
        self.app.refresh(caller).await
    }

    async fn execute(&self, caller: &Caller, request: Request) -> Response {
        self.schema.execute(self.prepare(caller.clone(), request)).await
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
