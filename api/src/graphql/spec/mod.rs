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
mod errors;
mod introspection;
mod literals;
mod omitted;
mod options;
mod shape;
pub(super) mod syntax;
mod types;
mod values;
mod verify;
mod wording;

use std::sync::Arc;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{
    ObjectType, Pos, Positioned, Request, Response, Schema, SchemaBuilder, ServerError, SubscriptionType,
    ValidationMode,
};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

pub use checks::InputChecks;
pub use cost::CostModel;
use cost::Price;
use errors::{JudgeOnly, Propagation};
pub use options::SpecOptions;
use types::TypeSystem;

/// A schema whose answers are those of the specification. Clones share it.
pub struct SpecSchema<Query, Mutation, Subscription> {
    /// Validates what clients send, and runs what needs no rewriting.
    schema: Schema<Query, Mutation, Subscription>,
    /// Runs documents that were validated and then rewritten; their measures are not the client's.
    rewritten: Schema<Query, Mutation, Subscription>,
    types: Arc<TypeSystem>,
    /// How operations are priced, if they are.
    cost: Option<CostModel>,
    introspection: bool,
}

impl<Query, Mutation, Subscription> Clone for SpecSchema<Query, Mutation, Subscription> {
    fn clone(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            rewritten: self.rewritten.clone(),
            types: Arc::clone(&self.types),
            cost: self.cost,
            introspection: self.introspection,
        }
    }
}

/// A request that is ready to run.
struct Ready {
    request: Request,
    rewritten: bool,
    price: Option<Price>,
}

impl Ready {
    fn shown(price: Option<Price>, response: Response) -> Response {
        match price {
            Some(price) => price.shown(response),
            None => response,
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

    /// A schema of what `builder` makes; it is called twice and has to make the same.
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
        let schema = builder()
            .extension(Propagation)
            .limit_complexity(usize::MAX)
            .finish();
        let rewritten = builder()
            .extension(Propagation)
            .validation_mode(ValidationMode::Fast)
            .limit_complexity(usize::MAX)
            .limit_depth(usize::MAX)
            .limit_recursive_depth(REWRITTEN_DEPTH)
            .finish();
        let types = TypeSystem::of(&schema.sdl(), options.inputs);
        Self {
            schema,
            rewritten,
            types: Arc::new(types),
            cost: options.cost,
            introspection: options.introspection,
        }
    }

    /// Runs a query or a mutation.
    pub async fn execute(&self, request: Request) -> Response {
        match self.prepare(request).await {
            Err(refusal) => refusal,
            Ok(ready) => {
                let response = match ready.rewritten {
                    false => self.schema.execute(ready.request).await,
                    true => self.rewritten.execute(ready.request).await,
                };
                Ready::shown(ready.price, response)
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
                    let responses = match ready.rewritten {
                        false => this.schema.execute_stream(ready.request),
                        true => this.rewritten.execute_stream(ready.request),
                    };
                    let mut price = ready.price;
                    responses
                        .map(move |response| Ready::shown(price.take(), response))
                        .boxed()
                }
            }
        };
        // What prepares is gone when it is done; the responses may last for hours.
        stream::once(responses.boxed()).flatten().boxed()
    }

    /// Checks the inputs of a request and gives it the document that runs.
    async fn prepare(&self, mut request: Request) -> Result<Ready, Response> {
        let name = request.operation_name.clone();
        let Ok(parsed) = request.parsed_query() else {
            return Err(Response::from_errors(vec![syntax::error(&request.query)]));
        };
        let mut document = parsed.clone();
        collect::wrap_typenames(&mut document);
        request.set_parsed_query(document.clone());
        let Some(operation) = selected(&document, name.as_deref()) else {
            // The library says which operation is missing.
            return Ok(Ready {
                request,
                rewritten: false,
                price: None,
            });
        };
        let (types, refused) = (&*self.types, Response::from_errors);
        if !self.introspection {
            introspection::refuse(&document, &operation.node).map_err(|error| refused(vec![error]))?;
        }
        request.variables = values::coerce(types, &operation.node, &request.variables).map_err(refused)?;
        let variables = &request.variables;
        let always = arguments::check(types, &document, &operation.node, variables).map_err(refused)?;
        collect::one_root(types, &document, operation, variables).map_err(|error| refused(vec![error]))?;
        let price = |model| Price::of(model, types, &document, &operation.node, variables);
        let price = self.cost.map(price);
        if let Some(refusal) = price.and_then(Price::refusal) {
            return Err(refusal);
        }
        let set = match collect::collect(types, &document, operation, variables, always) {
            Ok(None) => {
                return Ok(Ready {
                    request,
                    rewritten: false,
                    price,
                });
            }
            collected => {
                // A document that is not valid is refused with the library's words, not the rewriting's.
                self.judge(&document, name).await?;
                collected.map_err(refused)?.unwrap_or_default()
            }
        };
        let mut operation = operation.clone();
        operation.node.selection_set.node = set;
        request.set_parsed_query(ExecutableDocument {
            operations: DocumentOperations::Single(operation),
            fragments: std::collections::HashMap::new(),
        });
        request.operation_name = None;
        Ok(Ready {
            request,
            rewritten: true,
            price,
        })
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

/// The operation that runs (6.1, `GetOperation`).
fn selected<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a Positioned<async_graphql::parser::types::OperationDefinition>> {
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
