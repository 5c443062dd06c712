//! Executes requests: the schema with the caller and fresh data loaders per request.

use std::sync::{Arc, atomic::Ordering};

use async_graphql::{Request, Response, Value, parser::types::OperationType};
use async_trait::async_trait;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};

use super::{
    AnnealSchema,
    access_notes::AccessNotes,
    job_feed::LastPosition,
    loaders::with_loaders,
    spec::{SpecOptions, kind_of},
};
use crate::{
    app::{App, Caller},
    http::{
        graphql::{AuthError, Credentials, Executor, SessionEnd},
        shares::Holder,
    },
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

    fn furnish(&self, caller: Arc<Caller>, notes: AccessNotes, request: Request) -> Request {
        with_loaders(request, &self.app).data(caller).data(notes)
    }
}

/// The responses of a subscription, each recorded before it goes out; the first that cannot be is the last.
fn settled(
    app: App,
    caller: Arc<Caller>,
    notes: AccessNotes,
    responses: impl Stream<Item = Response> + Send + 'static,
) -> impl Stream<Item = Response> + Send {
    let state = Some((app, caller, notes, responses.boxed()));
    stream::unfold(state, |state| async move {
        let (app, caller, notes, mut responses) = state?;
        let response = responses.next().await?;
        match notes
            .settle(&app, &caller, response, OperationType::Subscription)
            .await
        {
            Ok(response) => Some((response, Some((app, caller, notes, responses)))),
            Err(refused) => Some((refused, None)),
        }
    })
}

#[async_trait]
impl Executor for SchemaExecutor {
    type Caller = Arc<Caller>;

    async fn authenticate(&self, credentials: Credentials) -> Result<Arc<Caller>, AuthError> {
        self.app.authenticate(&credentials).await.map(Arc::new)
    }

    fn account(&self, caller: &Arc<Caller>) -> Option<Holder> {
        caller.account()
    }

    async fn refresh(&self, caller: &Arc<Caller>) -> Result<Arc<Caller>, AuthError> {
        self.app.refresh(caller).await.map(Arc::new)
    }

    async fn execute(&self, caller: &Arc<Caller>, request: Request) -> Response {
        let (notes, mut request) = (AccessNotes::default(), request);
        let operation = kind_of(&mut request);
        let furnish = |request| self.furnish(caller.clone(), notes.clone(), request);
        let response = self.schema.execute_with(request, furnish).await;
        let settled = notes.settle(&self.app, caller, response, operation).await;
        settled.unwrap_or_else(|refused| refused)
    }

    fn subscribe(&self, caller: &Arc<Caller>, request: Request) -> BoxStream<'static, Response> {
        let last = LastPosition::default();
        let notes = AccessNotes::default();
        let request = self.furnish(caller.clone(), notes.clone(), request);
        let responses = self.schema.execute_stream(request.data(last.clone()));
        settled(self.app.clone(), caller.clone(), notes, responses)
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

    async fn session_end(&self, caller: &Arc<Caller>) -> SessionEnd {
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
