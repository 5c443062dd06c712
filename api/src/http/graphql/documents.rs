//! Documents that were measured before: read once, however often they are sent.
//!
//! One rule: a document is kept only after it has passed the guard and its sender was found to be signed in, so that strangers
//! drive nothing out; what is kept is bounded by the length of its texts.

use std::sync::Arc;

use async_graphql::{Request, parser::types::OperationType};
use quick_cache::{Weighter, sync::Cache};

use crate::graphql::{
    guard::{self, Limits, Refusal},
    spec::Document,
};

/// Bytes of the texts that are kept. What is made of a text takes up to some eighty times as much.
const KEPT: u64 = 256 << 10;
/// A text that is longer is read each time.
const LONGEST: usize = 8 << 10;
/// Documents that are expected.
const DOCUMENTS: usize = 512;

/// The documents of an endpoint. Clones share them.
#[derive(Clone)]
pub(super) struct Documents(Arc<Cache<String, Arc<Document>, Length>>);

/// A document weighs what its text is long.
#[derive(Clone)]
struct Length;

impl Weighter<String, Arc<Document>> for Length {
    fn weight(&self, text: &String, _: &Arc<Document>) -> u64 {
        text.len() as u64 + 1
    }
}

/// A document that is not kept yet.
pub(super) struct Unknown(Option<(String, Document)>);

impl Default for Documents {
    fn default() -> Self {
        Self(Arc::new(Cache::with_weighter(DOCUMENTS, KEPT, Length)))
    }
}

impl Documents {
    /// As [`guard::check`]; with the document for [`Documents::keep`]. One that is kept stands in the request's data then, in
    /// the place of the parsed query.
    ///
    /// # Errors
    /// As there.
    pub(super) fn check(
        &self,
        request: &mut Request,
        limits: &Limits,
    ) -> Result<(OperationType, Unknown), Refusal> {
        let known = (request.query.len() <= LONGEST)
            .then(|| self.0.get(&request.query))
            .flatten();
        if let Some(document) = known {
            let kind = guard::selected_operation(document.parsed(), request.operation_name.as_deref())?;
            request.data.insert(document);
            return Ok((kind, Unknown(None)));
        }
        let kind = guard::check(request, limits)?;
        let unknown = (request.query.len() <= LONGEST).then(|| request.query.clone());
        let document = request.parsed_query().ok().cloned().map(Document::new);
        Ok((kind, Unknown(unknown.zip(document))))
    }

    /// Keeps a document whose sender is signed in.
    pub(super) fn keep(&self, Unknown(unknown): Unknown) {
        if let Some((text, document)) = unknown {
            self.0.insert(text, Arc::new(document));
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{Request, parser::types::OperationType};

    use super::{Documents, KEPT, LONGEST};
    use crate::graphql::guard::Limits;

    fn checked(documents: &Documents, request: &mut Request) -> Result<OperationType, String> {
        let limits = Limits::default();
        let (kind, unknown) = documents
            .check(request, &limits)
            .map_err(|refusal| refusal.to_string())?;
        documents.keep(unknown);
        Ok(kind)
    }

    /// Its operations, in the order of their texts.
    fn operations(request: &mut Request) -> Vec<String> {
        let document = request.parsed_query().expect("read");
        let operations = document.operations.iter();
        let mut texts: Vec<String> = operations.map(|operation| format!("{operation:?}")).collect();
        texts.sort_unstable();
        texts
    }

    #[test]
    fn a_document_that_is_known_is_the_same_and_its_operation_is_chosen_anew() {
        let documents = Documents::default();
        let text = "query a { me { id } } mutation b { logout { position } }";
        for (name, kind) in [
            ("a", OperationType::Query),
            ("b", OperationType::Mutation),
            ("a", OperationType::Query),
        ] {
            let mut request = Request::new(text).operation_name(name);
            assert_eq!(checked(&documents, &mut request), Ok(kind));
            let mut plain = Request::new(text);
            assert_eq!(operations(&mut request), operations(&mut plain));
        }
        assert_eq!(documents.0.len(), 1);
        let unnamed = checked(&documents, &mut Request::new(text)).expect_err("which?");
        assert!(unnamed.contains("operationName"), "{unnamed}");
        let absent = checked(&documents, &mut Request::new(text).operation_name("c")).expect_err("none");
        assert!(absent.contains("'c'"), "{absent}");
    }

    #[test]
    fn neither_what_is_refused_nor_what_is_long_is_kept_and_many_stay_within_the_bound() {
        let documents = Documents::default();
        for wrong in ["{", "{ a { b { c", "query a { x } query b { x }"] {
            checked(&documents, &mut Request::new(wrong)).expect_err(wrong);
        }
        let long = format!("{{ me {{ id }} }} # {}", "x".repeat(LONGEST));
        checked(&documents, &mut Request::new(long)).expect("within the guard's limits");
        assert_eq!(documents.0.len(), 0);
        for n in 0..1_000 {
            let text = format!("{{ me {{ id }} }} # {n} {}", "x".repeat(1_000));
            checked(&documents, &mut Request::new(text)).expect("read");
        }
        assert!(
            documents.0.weight() <= KEPT && documents.0.len() > 100,
            "{}",
            documents.0.len()
        );
    }
}
