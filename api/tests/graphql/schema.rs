//! A schema with one field for each thing that can go right or wrong, and an executor with four callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::auth::secret::Secret;
use api::graphql::spec::{SpecOptions, SpecSchema};
use api::http::graphql::{AuthError, Credentials, Executor, ResumeFrom, SessionEnd};
use api::http::shares::Holder;
use async_graphql::{Context, ErrorExtensions, Object, Request, Response, Schema, Subscription, Value};
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

pub struct Query;

#[Object]
impl Query {
    async fn version(&self) -> &str {
        "1"
    }

    async fn echo(&self, text: String) -> String {
        text
    }

    async fn shout(&self, #[graphql(default = 1)] times: u8) -> String {
        "!".repeat(times.into())
    }

    async fn by_id(&self, id: uuid::Uuid) -> String {
        id.to_string()
    }

    async fn me(&self, context: &Context<'_>) -> String {
        context
            .data_opt::<Caller>()
            .map_or_else(String::new, |caller| caller.0.to_owned())
    }

    async fn broken(&self) -> async_graphql::Result<String> {
        Err(std::io::Error::other("secret table users is missing"))?
    }

    async fn forbidden(&self) -> async_graphql::Result<String> {
        Err(async_graphql::Error::new("not yours")
            .extend_with(|_, extensions| extensions.set("code", "FORBIDDEN")))
    }

    async fn panicking(&self) -> String {
        panics("a resolver panics on purpose")
    }

    async fn slow(&self) -> &str {
        tokio::time::sleep(Duration::from_secs(60)).await;
        "late"
    }
}

pub struct Mutation;

#[Object]
impl Mutation {
    async fn bump(&self, context: &Context<'_>) -> async_graphql::Result<u32> {
        Ok(context.data::<Arc<AtomicU32>>()?.fetch_add(1, Ordering::SeqCst) + 1)
    }

    async fn bump_and_fail(&self, context: &Context<'_>) -> async_graphql::Result<u32> {
        context.data::<Arc<AtomicU32>>()?.fetch_add(1, Ordering::SeqCst);
        Err(std::io::Error::other("after the change"))?
    }
}

pub struct Subscriptions;

#[Subscription]
impl Subscriptions {
    /// Counts on from the resumed position, or from 1.
    async fn count(&self, context: &Context<'_>, up_to: i32) -> impl Stream<Item = i32> {
        let resumed = context
            .data_opt::<ResumeFrom>()
            .and_then(|from| from.0.parse().ok())
            .unwrap_or(0);
        stream::iter(resumed + 1..=up_to)
    }

    async fn silent(&self) -> impl Stream<Item = i32> {
        stream::pending()
    }

    async fn flood(&self) -> impl Stream<Item = String> {
        stream::repeat_with(|| "x".repeat(16 * 1024))
    }

    async fn panicking(&self) -> impl Stream<Item = i32> {
        stream::once(async { panics("a subscription panics on purpose") })
    }
}

/// Who asks: `alice`, or `nobody` without credentials.
#[derive(Clone)]
pub struct Caller(pub &'static str);

#[derive(Clone)]
pub struct TestExecutor {
    schema: SpecSchema<Query, Mutation, Subscriptions>,
    pub bumps: Arc<AtomicU32>,
    /// Ends Alice's session.
    pub revoked: CancellationToken,
    pub expired: CancellationToken,
}

impl TestExecutor {
    pub fn new() -> Self {
        Self::with(SpecOptions::default())
    }

    pub fn with(mut options: SpecOptions) -> Self {
        let bumps = Arc::new(AtomicU32::new(0));
        let builder = || Schema::build(Query, Mutation, Subscriptions).data(Arc::clone(&bumps));
        options.inputs = options.inputs.with::<uuid::Uuid>();
        let schema = SpecSchema::with(builder, options);
        Self {
            schema,
            bumps,
            revoked: CancellationToken::new(),
            expired: CancellationToken::new(),
        }
    }
}

#[async_trait]
impl Executor for TestExecutor {
    type Caller = Caller;

    async fn authenticate(&self, credentials: Credentials) -> Result<Caller, AuthError> {
        let secret = credentials.bearer.or(credentials.api_key);
        match secret.as_ref().map(Secret::expose) {
            None => Ok(Caller("nobody")),
            Some("good") => Ok(Caller("alice")),
            Some("locked") => Err(AuthError::Forbidden("the account is locked".into())),
            Some("often") => Err(AuthError::RateLimited {
                retry_after: Duration::from_secs(7),
            }),
            Some(_) => Err(AuthError::Unauthenticated("the token is not valid".into())),
        }
    }

    fn account(&self, caller: &Caller) -> Option<Holder> {
        (caller.0 != "nobody").then(|| Holder::Account(caller.0.to_owned()))
    }

    async fn refresh(&self, caller: &Caller) -> Result<Caller, AuthError> {
        if self.expired.is_cancelled() {
            return Err(AuthError::Unauthenticated(
                "the session has ended; log in again".into(),
            ));
        }
        Ok(caller.clone())
    }

    async fn execute(&self, caller: &Caller, request: Request) -> Response {
        let furnish = |request: Request| request.data(caller.clone());
        self.schema.execute_with(request, furnish).await
    }

    fn subscribe(&self, caller: &Caller, request: Request) -> BoxStream<'static, Response> {
        let events = self.schema.execute_stream(request.data(caller.clone()));
        events
            .map(|mut response| {
                let position = match &response.data {
                    Value::Object(data) => data.get("count").cloned(),
                    _ => None,
                };
                response
                    .extensions
                    .extend(position.map(|position| ("position".to_owned(), position)));
                response
            })
            .boxed()
    }

    async fn session_end(&self, caller: &Caller) -> SessionEnd {
        if caller.0 != "alice" {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            () = self.expired.cancelled() => SessionEnd::Expired,
            () = self.revoked.cancelled() => SessionEnd::Revoked("your access was withdrawn".into()),
        }
    }
}

/// Panics, behind a type that keeps the compiler from seeing that nothing comes after.
fn panics<T>(why: &str) -> T {
    panic!("{why}")
}
