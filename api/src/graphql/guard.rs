//! What a GraphQL document may cost before anything of it runs (GQ-6).
//!
//! One rule: nothing here trusts the parser or the executor. Both expand and recurse without a bound
//! of their own: 1,600 nested `[` overflow the parser's stack and end the process, and fragments that
//! spread each other twice double the work with each 40 bytes. So the text is measured before it is
//! parsed (`brackets`) and the document before it is validated (`expansion`); both walks are linear.

mod brackets;
mod expansion;
mod surrogates;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use async_graphql::Request;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use axum::http::StatusCode;
use serde_json::Value;

use super::spec::syntax;

/// The bounds of one GraphQL request. The defaults are those of requirement GQ-6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the document, in bytes.
    pub document_bytes: usize,
    /// Open brackets of any kind at one place of the document, and arrays and objects of the variables.
    pub nesting: usize,
    /// Fields after fragments are spread, over all operations; `__typename` counts like any other.
    pub fields: u64,
    /// Fields on one path from the root. 16 lets the introspection query of graphql-js pass.
    pub depth: u64,
    /// Aliased fields after fragments are spread, over all operations.
    pub aliases: u64,
    /// Fields at the root of a mutation after fragments are spread.
    pub mutation_roots: u64,
    /// Directives after fragments are spread, over all operations.
    pub directives: u64,
    /// Fragment definitions.
    pub fragments: usize,
    /// Operation definitions; one of them is run.
    pub operations: usize,
    /// List fields of the introspection schema on one path: stops `fields { type { fields { … } } }`.
    pub introspection_lists: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 16 * 1024,
            nesting: 32,
            fields: 1_000,
            depth: 16,
            aliases: 10,
            mutation_roots: 10,
            directives: 20,
            fragments: 50,
            operations: 10,
            introspection_lists: 2,
        }
    }
}

/// The code that a refusal carries in `extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// The document is over one of the [`Limits`].
    QueryTooLarge,
    /// The document is wrong whatever its size.
    BadUserInput,
}

impl RefusalCode {
    /// The code as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueryTooLarge => "QUERY_TOO_LARGE",
            Self::BadUserInput => "BAD_USER_INPUT",
        }
    }
}

/// Why a document is not run, in words for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub code: RefusalCode,
    /// What is wrong, with the bound that was passed.
    pub message: Cow<'static, str>,
    /// The status under `application/graphql-response+json`; `application/json` answers 200 instead.
    pub http_status: StatusCode,
    /// Where the parser stopped, for syntax errors.
    pub location: Option<async_graphql::Pos>,
}

impl Refusal {
    fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalCode::QueryTooLarge, message)
    }

    fn bad_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalCode::BadUserInput, message)
    }

    fn new(code: RefusalCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            http_status: StatusCode::BAD_REQUEST,
            location: None,
        }
    }
}

/// Measures the text, parses it into the request, measures the document and finds the operation.
///
/// The parsed document stays in the request, so execution does not parse again. Variables are measured
/// with [`check_variables`], where they are still JSON.
///
/// # Errors
/// A [`Refusal`] when the document is over a limit, is not GraphQL, or leaves open which operation to run.
pub fn check(request: &mut Request, limits: &Limits) -> Result<OperationType, Refusal> {
    check_source(&request.query, limits)?;
    if let Cow::Owned(joined) = surrogates::join(&request.query)? {
        request.query = joined;
    }
    let name = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else {
        return Err(syntax_refusal(&request.query));
    };
    check_document(document, limits)?;
    selected_operation(document, name.as_deref())
}

/// Measures a text that is not parsed yet: its length, and its brackets outside strings and comments.
///
/// # Errors
/// `QUERY_TOO_LARGE` over a limit; `BAD_USER_INPUT` when brackets or strings do not close.
pub fn check_source(source: &str, limits: &Limits) -> Result<(), Refusal> {
    if source.len() > limits.document_bytes {
        return Err(Refusal::too_large(format!(
            "the document has {} bytes; at most {} are allowed",
            source.len(),
            limits.document_bytes
        )));
    }
    brackets::check(source, limits.nesting)
}

/// Measures a parsed document: its fields as the executor would expand them, and the other [`Limits`].
///
/// # Errors
/// `QUERY_TOO_LARGE` over a limit; `BAD_USER_INPUT` when fragments form a cycle.
pub fn check_document(document: &ExecutableDocument, limits: &Limits) -> Result<(), Refusal> {
    expansion::check(document, limits)
}

/// Measures how deep the variables are nested; how long they are is the body limit's matter.
///
/// # Errors
/// `QUERY_TOO_LARGE` when arrays and objects stand more than `limits.nesting` deep.
pub fn check_variables(variables: &Value, limits: &Limits) -> Result<(), Refusal> {
    let (depth, most) = (depth(variables), limits.nesting);
    if depth <= most {
        return Ok(());
    }
    Err(Refusal::too_large(format!(
        "the variables are nested {depth} deep; at most {most} are allowed"
    )))
}

/// Arrays and objects on the longest path through a value; the JSON parser bounds it.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// The kind of the one operation that `name` selects (GraphQL October 2021, 6.1, `GetOperation`).
///
/// # Errors
/// `BAD_USER_INPUT` when there is none of that name, or several and no name.
pub fn selected_operation(
    document: &ExecutableDocument,
    name: Option<&str>,
) -> Result<OperationType, Refusal> {
    let unknown = |name: &str| {
        let shown: String = name.chars().take(64).collect();
        Refusal::bad_input(format!("the document has no operation named '{shown}'"))
    };
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Ok(operation.node.ty),
        (DocumentOperations::Single(_), Some(name)) => Err(unknown(name)),
        (DocumentOperations::Multiple(operations), Some(name)) => operations
            .get(name)
            .map(|operation| operation.node.ty)
            .ok_or_else(|| unknown(name)),
        (DocumentOperations::Multiple(operations), None) => {
            let mut all = operations.values();
            match (all.next(), all.next()) {
                (Some(only), None) => Ok(only.node.ty),
                _ => Err(Refusal::bad_input(
                    "the document has several operations; name the one to run in operationName",
                )),
            }
        }
    }
}

/// What the parser has refused, in a sentence with its place.
fn syntax_refusal(source: &str) -> Refusal {
    let error = syntax::error(source);
    Refusal {
        location: error.locations.first().copied(),
        ..Refusal::bad_input(error.message)
    }
}
