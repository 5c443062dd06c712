//! What the GraphQL specification (October 2021) asks of an execution and the library does not do.
//!
//! One rule: whatever runs, runs through [`SpecSchema`]. Before it the variables are coerced (6.1.2), the
//! inputs checked against their types (5.6, 5.8.5), a subscription's root counted (5.2.3.1) and fields with one
//! response key merged (5.3.2, 6.3.2); within it errors keep their place and go up to the nearest parent that
//! may be null (6.4.4). The tests in `api/tests/endpoint/conformance` hold the answers to those of graphql-js.

mod arguments;
mod checks;
mod collect;
mod cost;
mod document;
mod errors;
mod introspection;
mod literals;
mod omitted;
mod options;
mod prepare;
mod shape;
pub(super) mod syntax;
mod types;
mod values;
mod verify;
mod wording;

use std::sync::Arc;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType,
};
use async_graphql::{
    ObjectType, Pos, Positioned, Request, Response, Schema, SchemaBuilder, ServerError, SubscriptionType,
    ValidationMode,
};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

pub use checks::InputChecks;
pub use cost::CostModel;
use cost::Price;
pub use document::Document;
use errors::{JudgeOnly, Propagation};
pub use options::SpecOptions;
use prepare::query_of_plan;
use types::TypeSystem;

/// A schema whose answers are those of the specification. Clones share it.
pub struct SpecSchema<Query, Mutation, Subscription> {
    /// Validates what clients send, and runs what was not validated before.
    schema: Schema<Query, Mutation, Subscription>,
    /// Runs documents that were validated, and then maybe rewritten; their measures are not the client's.
    valid: Schema<Query, Mutation, Subscription>,
    /// Runs such documents as the library does, errors included: twice as fast where there are none.
    plain: Schema<Query, Mutation, Subscription>,
    types: Arc<TypeSystem>,
    /// How operations are priced, if they are.
    cost: Option<CostModel>,
    introspection: bool,
}

impl<Query, Mutation, Subscription> Clone for SpecSchema<Query, Mutation, Subscription> {
    fn clone(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            valid: self.valid.clone(),
            plain: self.plain.clone(),
            types: Arc::clone(&self.types),
            cost: self.cost,
            introspection: self.introspection,
        }
    }
}

impl<Query, Mutation, Subscription> SpecSchema<Query, Mutation, Subscription>
where
    Query: ObjectType + 'static,
    Mutation: ObjectType + 'static,
    Subscription: SubscriptionType + 'static,
{
    /// A schema of what `builder` makes, with the default options.
    ///
    /// # Panics
    /// As [`SpecSchema::with`].
    pub fn new(builder: impl Fn() -> SchemaBuilder<Query, Mutation, Subscription>) -> Self {
        Self::with(builder, SpecOptions::default())
    }

    /// A schema of what `builder` makes; it is called several times and has to make the same.
    ///
    /// # Panics
    /// When the options do not say how to read an input of the schema, or when the library cannot read the
    /// definition that it wrote of the schema; both are defects.
    pub fn with(
        builder: impl Fn() -> SchemaBuilder<Query, Mutation, Subscription>,
        options: SpecOptions,
    ) -> Self {
        let builder = || match options.introspection {
            true => builder(),
            false => builder().disable_introspection().disable_suggestions(),
        };
        let valid = || {
            builder()
                .validation_mode(ValidationMode::Fast)
                .limit_complexity(usize::MAX)
                .limit_depth(usize::MAX)
                .limit_recursive_depth(REWRITTEN_DEPTH)
        };
        let schema = builder()
            .extension(Propagation)
            .limit_complexity(usize::MAX)
            .finish();
        let types = TypeSystem::of(&schema.sdl(), options.inputs);
        Self {
            schema,
            valid: valid().extension(Propagation).finish(),
            plain: valid().finish(),
            types: Arc::new(types),
            cost: options.cost,
            introspection: options.introspection,
        }
    }

    /// Runs a query or a mutation whose request has all that resolvers look for in its data.
    pub async fn execute(&self, request: Request) -> Response {
        self.execute_once(request, &std::convert::identity).await
    }

    /// Runs a query or a mutation. `furnish` puts into a request what resolvers look for in its data.
    ///
    /// A query of a document that is known to be valid is run as the library does it, and anew when there is an error: only
    /// then it matters where errors go. So what `furnish` puts in must take being used twice.
    pub async fn execute_with(&self, request: Request, furnish: impl Fn(Request) -> Request) -> Response {
        let Some(again) = query_of_plan(&request) else {
            return self.execute_once(request, &furnish).await;
        };
        match self.prepare(request).await {
            Err(refusal) => refusal,
            Ok(ready) => {
                let response = self.plain.execute(furnish(ready.request)).await;
                match response.errors.is_empty() {
                    true => shown(ready.price, response),
                    false => self.execute_once(again, &furnish).await,
                }
            }
        }
    }

    async fn execute_once(&self, request: Request, furnish: &impl Fn(Request) -> Request) -> Response {
        match self.prepare(request).await {
            Err(refusal) => refusal,
            Ok(ready) => {
                let request = furnish(ready.request);
                let response = match ready.valid {
                    false => self.schema.execute(request).await,
                    true => self.valid.execute(request).await,
                };
                shown(ready.price, response)
            }
        }
    }

    /// Runs any operation: a response for each event of a subscription, one for the others. The first carries the price.
    pub fn execute_stream(&self, request: Request) -> BoxStream<'static, Response> {
        let this = self.clone();
        let responses = async move {
            match this.prepare(request).await {
                Err(refusal) => stream::once(async { refusal }).boxed(),
                Ok(ready) => {
                    let responses = match ready.valid {
                        false => this.schema.execute_stream(ready.request),
                        true => this.valid.execute_stream(ready.request),
                    };
                    let mut price = ready.price;
                    responses
                        .map(move |response| shown(price.take(), response))
                        .boxed()
                }
            }
        };
        // What prepares is gone when it is done; the responses may last for hours.
        stream::once(responses.boxed()).flatten().boxed()
    }

    /// Has the library validate the client's document, without running it.
    ///
    /// The variables are coerced already; without them the library looks at none of their values.
    async fn judge(&self, document: &ExecutableDocument, name: Option<String>) -> Result<(), Response> {
        let mut request = Request::new(String::new()).data(JudgeOnly);
        request.operation_name = name;
        request.set_parsed_query(document.clone());
        let verdict = self.schema.execute(request).await;
        if verdict.is_err() { Err(verdict) } else { Ok(()) }
    }
}

/// Selection sets on one path of a rewritten document: twice what the guard lets in, because each may be put
/// under a condition on its type.
const REWRITTEN_DEPTH: usize = 64;

/// The response with what its operation cost, if that is counted.
fn shown(price: Option<Price>, response: Response) -> Response {
    match price {
        Some(price) => price.shown(response),
        None => response,
    }
}

/// What kind of operation a request asks for; it has passed the guard.
pub fn kind_of(request: &mut Request) -> OperationType {
    let name = request.operation_name.clone();
    let kind = |document: &ExecutableDocument| {
        let operation = selected(document, name.as_deref());
        operation.map(|operation| operation.node.ty)
    };
    let found = match Document::of(request) {
        Some(kept) => kind(kept.parsed()),
        None => request.parsed_query().ok().and_then(kind),
    };
    found.unwrap_or(OperationType::Query)
}

/// The operation that runs (6.1, `GetOperation`).
fn selected<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a Positioned<OperationDefinition>> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) => {
            operations.values().next().filter(|_| operations.len() == 1)
        }
    }
}

/// The name of an operation's root type.
fn root_of(types: &TypeSystem, kind: OperationType) -> Option<&str> {
    types.root(kind)
}

/// A refusal of what the client sent.
fn refusal(message: impl Into<String>, at: Pos) -> ServerError {
    let mut error = ServerError::new(message, Some(at));
    error
        .extensions
        .get_or_insert_default()
        .set("code", "BAD_USER_INPUT");
    error
}
