//! What the GraphQL specification (October 2021) asks of an execution and the library does not do.
//!
//! One rule: whatever runs, runs through [`SpecSchema`]. Before it the variables are coerced (6.1.2), the
//! inputs checked against their types (5.6, 5.8.5), a subscription's root counted (5.2.3.1) and fields with one
//! response key merged (5.3.2, 6.3.2); within it errors keep their place and go up to the nearest parent that
//! may be null (6.4.4). The tests in `api/tests/endpoint/conformance` hold the answers to those of graphql-js.

mod arguments;
mod checks;
mod collect;
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
    ValidationMode, Variables,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

pub use checks::InputChecks;
use errors::{Cost, JudgeOnly, Propagation};
pub use options::SpecOptions;
use types::TypeSystem;

/// A schema whose answers are those of the specification. Clones share it.
pub struct SpecSchema<Query, Mutation, Subscription> {
    /// Validates what clients send, and runs what needs no rewriting.
    schema: Schema<Query, Mutation, Subscription>,
    /// Runs documents that were validated and then rewritten; their measures are not the client's.
    rewritten: Schema<Query, Mutation, Subscription>,
    types: Arc<TypeSystem>,
    /// The complexity that an operation may have.
    complexity: usize,
    introspection: bool,
}

impl<Query, Mutation, Subscription> Clone for SpecSchema<Query, Mutation, Subscription> {
    fn clone(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            rewritten: self.rewritten.clone(),
            types: Arc::clone(&self.types),
            complexity: self.complexity,
            introspection: self.introspection,
        }
    }
}

/// A request that is ready to run.
struct Ready {
    request: Request,
    rewritten: bool,
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
            complexity: options.complexity,
            introspection: options.introspection,
        }
    }

    /// Runs a query or a mutation.
    pub async fn execute(&self, request: Request) -> Response {
        match self.prepare(request).await {
            Err(refusal) => refusal,
            Ok(Ready {
                request,
                rewritten: false,
            }) => self.schema.execute(request).await,
            Ok(Ready {
                request,
                rewritten: true,
            }) => self.rewritten.execute(request).await,
        }
    }

    /// Runs any operation: a response for each event of a subscription, one for the others.
    pub fn execute_stream(&self, request: Request) -> BoxStream<'static, Response> {
        let this = self.clone();
        let responses = async move {
            match this.prepare(request).await {
                Err(refusal) => stream::once(async { refusal }).boxed(),
                Ok(Ready {
                    request,
                    rewritten: false,
                }) => this.schema.execute_stream(request),
                Ok(Ready {
                    request,
                    rewritten: true,
                }) => this.rewritten.execute_stream(request),
            }
        };
        stream::once(responses).flatten().boxed()
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
        let measurable = omitted::measurable(&document, operation, variables);
        self.measure(measurable, variables.clone()).await?;
        let set = match collect::collect(types, &document, operation, variables, always) {
            Ok(None) => {
                return Ok(Ready {
                    request,
                    rewritten: false,
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

    /// Has the library compute what one operation costs, and refuses it over the bound.
    async fn measure(&self, document: ExecutableDocument, variables: Variables) -> Result<(), Response> {
        let cost = Cost::default();
        let mut request = Request::new(String::new())
            .variables(variables)
            .data(JudgeOnly)
            .data(cost.clone());
        request.set_parsed_query(document);
        let measured = self.rewritten.execute(request).await;
        if measured.is_err() {
            return Err(measured);
        }
        let (cost, most) = (cost.get(), self.complexity);
        if cost <= most {
            return Ok(());
        }
        let message = format!("the query costs {cost}; at most {most} is allowed, so ask for smaller pages");
        let mut error = ServerError::new(message, None);
        error
            .extensions
            .get_or_insert_default()
            .set("code", "QUERY_TOO_LARGE");
        Err(Response::from_errors(vec![error]))
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
