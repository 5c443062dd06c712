//! Documents that come again, and what was found out about them.
//!
//! One rule: kept is what follows from the text and the schema alone. What variables decide is decided each time.

use std::any::TypeId;
use std::sync::{Arc, OnceLock};

use async_graphql::Request;
use async_graphql::parser::types::{ExecutableDocument, OperationType};

use super::cost::Price;

/// A document that has passed the guard. It stands in the data of each request that asks with it.
#[derive(Debug)]
pub struct Document {
    parsed: ExecutableDocument,
    plan: OnceLock<Plan>,
}

/// How an operation of a valid document is run.
#[derive(Debug)]
pub(super) struct Plan {
    /// Under which name the operation was asked for.
    pub(super) name: Option<String>,
    /// What it is.
    pub(super) kind: OperationType,
    /// What runs, when the operation takes no variables; else what the client sent, ready to be looked at with theirs.
    pub(super) document: ExecutableDocument,
    /// What it costs, when it takes no variables.
    pub(super) settled: Option<Settled>,
}

/// What is known of an operation that takes no variables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// What it costs, if operations are priced.
    pub(super) price: Option<Price>,
    /// Whether what runs is that operation alone.
    pub(super) rewritten: bool,
}

impl Document {
    /// A document of which nothing is known yet.
    #[must_use]
    pub fn new(parsed: ExecutableDocument) -> Self {
        Self {
            parsed,
            plan: OnceLock::new(),
        }
    }

    /// As the client wrote it.
    #[must_use]
    pub fn parsed(&self) -> &ExecutableDocument {
        &self.parsed
    }

    /// The document of a request that asks with one that is kept.
    pub(super) fn of(request: &Request) -> Option<Arc<Self>> {
        let found = request.data.get(&TypeId::of::<Arc<Self>>())?;
        found.downcast_ref().cloned()
    }

    /// How the operation of that name is run, where it was found out.
    pub(super) fn plan(&self, name: Option<&str>) -> Option<&Plan> {
        self.plan.get().filter(|plan| plan.name.as_deref() == name)
    }

    /// Keeps what was found out; of several operations, that of the first.
    pub(super) fn keep(&self, plan: Plan) {
        self.plan.get_or_init(|| plan);
    }
}
