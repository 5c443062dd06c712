//! From a request to what runs.
//!
//! One rule: all that is checked of a document is checked before anything of it runs, once for a document that is kept
//! ([`Document`]) and each time for what variables decide.

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, SelectionSet,
};
use async_graphql::{ObjectType, Positioned, Request, Response, ServerError, SubscriptionType, Variables};

use super::cost::Price;
use super::document::{Document, Plan, Settled};
use super::{SpecSchema, arguments, collect, introspection, selected, syntax, values};

/// A request that is ready to run.
pub(super) struct Ready {
    pub(super) request: Request,
    /// Whether its document is known to be valid.
    pub(super) valid: bool,
    /// What it costs; clients are told.
    pub(super) price: Option<Price>,
}

/// What was found out about an operation with its variables.
struct Checked {
    variables: Variables,
    price: Option<Price>,
    /// What to select in the place of what the client selects, if that has to be rewritten.
    selected: Result<Option<SelectionSet>, Vec<ServerError>>,
}

impl<Query, Mutation, Subscription> SpecSchema<Query, Mutation, Subscription>
where
    Query: ObjectType + 'static,
    Mutation: ObjectType + 'static,
    Subscription: SubscriptionType + 'static,
{
    /// Checks the inputs of a request and gives it the document that runs.
    ///
    /// # Errors
    /// The answer to a request that does not run.
    pub(super) async fn prepare(&self, mut request: Request) -> Result<Ready, Response> {
        let kept = Document::of(&request);
        let name = request.operation_name.clone();
        let plan = kept.as_ref().and_then(|kept| kept.plan(name.as_deref()));
        let document = match plan {
            Some(plan) => plan.document.clone(),
            None => read(kept.as_deref(), &mut request).map_err(|refusal| *refusal)?,
        };
        if let Some(settled) = plan.and_then(|plan| plan.settled) {
            return Ok(of_settled(request, document, settled));
        }
        let Some(operation) = selected(&document, name.as_deref()) else {
            // The library says which operation is missing.
            return Ok(ready(request, document, false, None));
        };
        let checked = self.checked(&document, operation, &request.variables);
        let checked = checked.map_err(|refusal| *refusal)?;
        let is_judged = plan.is_none() && (kept.is_some() || !matches!(checked.selected, Ok(None)));
        if is_judged {
            // A document that is not valid is refused with the library's words, not the rewriting's.
            self.judge(&document, name.clone()).await?;
        }
        let rewritten = checked.selected.map_err(Response::from_errors)?;
        let rewritten = rewritten.map(|set| alone(operation.clone(), set));
        if let (None, Some(kept)) = (plan, &kept) {
            kept.keep(found(
                name,
                operation,
                (&document, rewritten.as_ref()),
                checked.price,
            ));
        }
        request.variables = checked.variables;
        if rewritten.is_some() {
            request.operation_name = None;
        }
        let valid = is_judged || plan.is_some();
        Ok(ready(
            request,
            rewritten.unwrap_or(document),
            valid,
            checked.price,
        ))
    }

    /// Checks an operation with the values of its variables.
    fn checked(
        &self,
        document: &ExecutableDocument,
        operation: &Positioned<OperationDefinition>,
        given: &Variables,
    ) -> Result<Checked, Box<Response>> {
        let (types, refused) = (&*self.types, |errors| Box::new(Response::from_errors(errors)));
        if !self.introspection {
            introspection::refuse(document, &operation.node).map_err(|error| refused(vec![error]))?;
        }
        let variables = values::coerce(types, &operation.node, given).map_err(refused)?;
        let always = arguments::check(types, document, &operation.node, &variables).map_err(refused)?;
        collect::one_root(types, document, operation, &variables).map_err(|error| refused(vec![error]))?;
        let price = |model| Price::of(model, types, document, &operation.node, &variables);
        let price = self.cost.map(price);
        if let Some(refusal) = price.and_then(Price::refusal) {
            return Err(Box::new(refusal));
        }
        let selected = collect::collect(types, document, operation, &variables, always);
        Ok(Checked {
            variables,
            price,
            selected,
        })
    }
}

/// The document of a request as it is looked at.
fn read(kept: Option<&Document>, request: &mut Request) -> Result<ExecutableDocument, Box<Response>> {
    let mut document = match kept {
        Some(kept) => kept.parsed().clone(),
        None => match request.parsed_query() {
            Ok(parsed) => parsed.clone(),
            Err(_) => {
                return Err(Box::new(Response::from_errors(vec![syntax::error(
                    &request.query,
                )])));
            }
        },
    };
    collect::wrap_typenames(&mut document);
    Ok(document)
}

fn ready(mut request: Request, document: ExecutableDocument, valid: bool, price: Option<Price>) -> Ready {
    request.set_parsed_query(document);
    Ready {
        request,
        valid,
        price,
    }
}

/// A request whose operation takes no variables, with what is known to run.
fn of_settled(mut request: Request, document: ExecutableDocument, settled: Settled) -> Ready {
    request.variables = Variables::default();
    if settled.rewritten {
        request.operation_name = None;
    }
    ready(request, document, true, settled.price)
}

/// What to keep of an operation that is valid: as the client sent it, or as it runs.
fn found(
    name: Option<String>,
    operation: &Positioned<OperationDefinition>,
    (sent, rewritten): (&ExecutableDocument, Option<&ExecutableDocument>),
    price: Option<Price>,
) -> Plan {
    let takes_variables = !operation.node.variable_definitions.is_empty();
    let settled = Settled {
        price,
        rewritten: rewritten.is_some(),
    };
    Plan {
        name,
        kind: operation.node.ty,
        document: rewritten.filter(|_| !takes_variables).unwrap_or(sent).clone(),
        settled: (!takes_variables).then_some(settled),
    }
}

/// The same request once more, when it is for a query of a document that is known to be valid.
pub(super) fn query_of_plan(request: &Request) -> Option<Request> {
    let kept = Document::of(request)?;
    let plan = kept.plan(request.operation_name.as_deref())?;
    if plan.kind != OperationType::Query {
        return None;
    }
    let mut again = Request::new("").variables(request.variables.clone());
    again.operation_name.clone_from(&request.operation_name);
    again.extensions.clone_from(&request.extensions);
    Some(again.data(kept))
}

/// A document of one operation that selects `set`.
fn alone(mut operation: Positioned<OperationDefinition>, set: SelectionSet) -> ExecutableDocument {
    operation.node.selection_set.node = set;
    ExecutableDocument {
        operations: DocumentOperations::Single(operation),
        fragments: std::collections::HashMap::new(),
    }
}
