//! What is wrong with a document is said in the words of graphql-js, with the field and its parent type.

use serde_json::json;

use super::inputs::Own;

#[tokio::test]
async fn what_is_wrong_with_a_document_is_said_in_the_words_of_graphql_js() {
    let own = Own::read().await;
    let required = |argument: &str, field: &str| {
        format!("Argument \"{argument}\" is required on field \"{field}\", but it was not provided.")
    };
    for (query, wanted) in [
        (
            "{ logInstant { position } }",
            required("asOf\" of type \"AsOf!", "Query.logInstant"),
        ),
        (
            "{ __type { name } }",
            required("name\" of type \"String!", "Query.__type"),
        ),
        (
            "mutation { startJob { __typename } }",
            required("input\" of type \"StartJobInput!", "Mutation.startJob"),
        ),
        (
            "subscription { jobFeed { __typename } }",
            required("jobId\" of type \"ID!", "Subscription.jobFeed"),
        ),
        (
            "query ($x: String) { jobs(first: $x) { nodes { id } } }",
            "Variable \"$x\" of type \"String\" used in position expecting type \"Int\".".to_owned(),
        ),
        (
            "{ logInstant(asOf: { }) { position } }",
            "Argument \"asOf\" of field \"Query.logInstant\" got invalid value at \"asOf\"; \
             OneOf Input Object \"AsOf\" must specify exactly one key."
                .to_owned(),
        ),
        (
            "{ __type(name: 5) { name } }",
            "Argument \"name\" of field \"Query.__type\" got invalid value at \"name\"; \
             String cannot represent a non string value: 5"
                .to_owned(),
        ),
        (
            "{ version @skip }",
            "Argument \"if\" of type \"Boolean!\" is required on directive \"@skip\", but it was not provided."
                .to_owned(),
        ),
        (
            "{ jobs(first: ",
            "Syntax error: unexpected end of the document at line 1, column 15.".to_owned(),
        ),
    ] {
        let response = own.run(query, &json!({})).await;
        let messages: Vec<_> = response.errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(messages, [wanted.as_str()], "{query}");
    }
}

/// The library walks a document twice and says twice what both walks find.
#[tokio::test]
async fn what_is_wrong_with_an_operation_that_is_not_run_is_one_error() {
    let own = Own::read().await;
    let request = async_graphql::Request::new("query A { version } subscription B { __typename }");
    let response = own.schema.execute(request.operation_name("A")).await;
    assert_eq!(response.errors.len(), 1, "{:?}", response.errors);
}

/// Operations beside the one that runs are held to the same (5.6.1), once for what they share.
#[tokio::test]
async fn operations_that_are_not_run_are_checked_too() {
    let own = Own::read().await;
    let query = "query A { version ...F } query B($n: Int) { logInstant { position } ...F }
        fragment F on Query { jobs(first: \"x\") { nodes { id } } }";
    let request = async_graphql::Request::new(query).operation_name("A");
    let response = own.schema.execute(request).await;
    let mut messages: Vec<_> = response
        .errors
        .iter()
        .map(|error| error.message.as_str())
        .collect();
    messages.sort_unstable();
    assert_eq!(
        messages,
        [
            "Argument \"asOf\" of type \"AsOf!\" is required on field \"Query.logInstant\", but it was not provided.",
            "Argument \"first\" of field \"Query.jobs\" got invalid value at \"first\"; \
             Int cannot represent non-integer value: \"x\"",
        ]
    );
}
