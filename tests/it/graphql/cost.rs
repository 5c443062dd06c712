//! What operations may cost (GQ-6, GQ-7, FL9): fair to pages, hard on the hostile, and said to everybody.
//!
//! One rule: lists and their fields are read from the schema, so a new list is held to the same without anybody thinking
//! of it.

use std::collections::BTreeMap;

use api::graphql::{AnnealSchema, COST};
use async_graphql::Request;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tests::harness::TestApp;

const INTROSPECTION: &str = "{ __schema { types {
        kind name
        possibleTypes { name }
        fields { name args { name defaultValue type { ...T } } type { ...T } }
} } }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// The schema with nothing behind it: what is let in fails, what is too dear is refused before.
struct Own {
    schema: AnnealSchema,
    types: BTreeMap<String, Value>,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a name: {value}"))
}

/// The type at the bottom.
fn bottom(ty: &Value) -> &Value {
    match &ty["ofType"] {
        Value::Null => ty,
        inner => bottom(inner),
    }
}

impl Own {
    async fn read() -> Self {
        let schema = AnnealSchema::with(api::graphql::builder, api::graphql::options());
        let answer = schema.execute(Request::new(INTROSPECTION)).await;
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        let read = answer.data.into_json().expect("JSON");
        let types = list(&read["__schema"]["types"]).iter();
        let types = types
            .map(|ty| (text(&ty["name"]).to_owned(), ty.clone()))
            .collect();
        Self { schema, types }
    }

    fn is_node(&self, name: &str) -> bool {
        let possible = list(&self.types["Node"]["possibleTypes"]);
        name == "Node" || possible.iter().any(|ty| ty["name"] == name)
    }

    /// All plain fields of a type: scalars, enums, and objects that are no rows of their own, with all of theirs.
    fn plain(&self, name: &str) -> String {
        let mut selected = Vec::new();
        for field in list(&self.types[name]["fields"]) {
            let of = bottom(&field["type"]);
            let (kind, of) = (text(&of["kind"]), text(&of["name"]));
            match kind {
                "SCALAR" | "ENUM" => selected.push(text(&field["name"]).to_owned()),
                "OBJECT" if !self.is_node(of) && !of.ends_with("Connection") => {
                    selected.push(format!("{} {{ {} }}", text(&field["name"]), self.plain(of)));
                }
                _ => {}
            }
        }
        selected.join(" ")
    }

    /// Every field that gives a connection: the type that has it, its name, its type, and the arguments that it needs.
    fn connections(&self) -> Vec<(String, String, String, String)> {
        let mut found = Vec::new();
        for (owner, ty) in &self.types {
            for field in list(&ty["fields"]) {
                let of = text(&bottom(&field["type"])["name"]).to_owned();
                if !of.ends_with("Connection") {
                    continue;
                }
                let needed = list(&field["args"])
                    .iter()
                    .filter(|one| one["type"]["kind"] == "NON_NULL" && one["defaultValue"].is_null());
                let needed = needed.map(|one| match text(&bottom(&one["type"])["name"]) {
                    "ID" | "String" => format!("{}: \"x\", ", text(&one["name"])),
                    other => panic!("teach this test an argument of type {other}"),
                });
                found.push((
                    owner.clone(),
                    text(&field["name"]).to_owned(),
                    of,
                    needed.collect(),
                ));
            }
        }
        found
    }

    /// A document with `fields` of `owner`, which is the root or found by its id.
    fn document(&self, owner: &str, fields: &str) -> String {
        match owner {
            "Query" => format!("{{ {fields} }}"),
            owner if self.is_node(owner) => {
                format!("{{ node(id: \"x\") {{ ... on {owner} {{ {fields} }} }} }}")
            }
            owner => panic!("teach this test how {owner} is found"),
        }
    }

    /// What a document costs, and the refusal if it is too dear.
    async fn price(&self, document: &str) -> (u64, Option<Value>) {
        let answer = self.schema.execute(Request::new(document)).await;
        let answer = serde_json::to_value(&answer).expect("JSON");
        let cost = &answer["extensions"]["cost"];
        assert_eq!(cost["limit"], json!(COST.limit), "{document}: {answer}");
        let first = &answer["errors"][0];
        let invalid = first["path"].is_null() && first["extensions"]["code"] != "QUERY_TOO_LARGE";
        assert!(first.is_null() || !invalid, "{document}: {answer}");
        let refused = first["extensions"]["code"] == "QUERY_TOO_LARGE";
        let requested = cost["requested"].as_u64().expect("a number");
        (requested, refused.then(|| first.clone()))
    }
}

/// FL9: a page of 100 of any list is let in with all plain fields of its rows, and the least number of such pages over
/// the limit is refused, with the cost and the limit.
#[tokio::test]
async fn a_full_page_of_any_list_passes_and_just_above_the_limit_nothing_does() {
    let own = Own::read().await;
    let connections = own.connections();
    assert!(connections.len() >= 11, "{connections:?}");
    for (owner, field, connection, needed) in connections {
        let plain = own.plain(connection.trim_end_matches("Connection"));
        let one = format!(
            "{field}({needed}first: 100) {{ totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ {plain} }} }}"
        );
        let (cost, refused) = own.price(&own.document(&owner, &one)).await;
        assert!(refused.is_none(), "{owner}.{field}: {cost} for {one}");
        let (nothing, _) = own.price(&own.document(&owner, "__typename")).await;
        let each = cost - nothing + 1;
        let most = (COST.limit - nothing) / each;
        for (pages, fits) in [(most, true), (most + 1, false)] {
            let all: Vec<String> = (0..pages).map(|number| format!("p{number}: {one}")).collect();
            let document = own.document(&owner, &all.join(" "));
            let (cost, refused) = own.price(&document).await;
            assert_eq!(
                refused.is_none(),
                fits,
                "{owner}.{field}: {pages} pages cost {cost}"
            );
            let Some(refused) = refused else { continue };
            assert_eq!(refused["extensions"]["cost"], json!(cost), "{refused}");
            assert_eq!(refused["extensions"]["limit"], json!(COST.limit), "{refused}");
            let message = text(&refused["message"]);
            for number in [cost, COST.limit] {
                assert!(message.contains(&number.to_string()), "{message}");
            }
        }
    }
}

/// Lists in lists are let in by what they may find, however they are written; the documents of the hostile are not.
#[tokio::test]
async fn nested_lists_are_bounded_by_the_rows_that_they_may_find() {
    let own = Own::read().await;
    let nested = |projects, experiments, jobs: &str| {
        format!(
            "{{ projects(first: {projects}) {{ edges {{ node {{ id name experiments(first: {experiments}) {{ nodes {{
                id name jobs{jobs} {{ nodes {{ id name state loss step totalSteps queuedAt endedAt }} }} }} }} }} }} }} }}"
        )
    };
    for (document, fits) in [
        (nested(25, 5, "(first: 5)"), true),
        (nested(100, 5, "(first: 1)"), true),
        (nested(25, 25, "(first: 5)"), false),
        (nested(100, 100, "(first: 100)"), false),
        (nested(10, 10, ""), false),
        (nested(0, 100, "(first: 100)"), true),
    ] {
        let (cost, refused) = own.price(&document).await;
        assert_eq!(refused.is_none(), fits, "{cost}: {document}");
    }
    let by_fragments = "{ projects(first: 100) { ...P } }
        fragment P on ProjectConnection { nodes { ...Q ...R } }
        fragment Q on Project { experiments(first: 10) { nodes { id } } }
        fragment R on Project { again: experiments(first: 10) { nodes { id } } }";
    let (cost, refused) = own.price(by_fragments).await;
    // A connection: itself, its field, and its rows; a row: 25 and what is selected of it.
    let experiments = 1 + 1 + 10 * (25 + 1);
    assert_eq!(cost, 1 + 1 + 100 * (25 + 2 * experiments));
    assert!(refused.is_some());
    let beside = own
        .price("{ jobs(first: 10) { nodes { owner { id } dataset { id } } } }")
        .await;
    assert_eq!(
        beside.0,
        1 + 1 + 10 * (25 + 2 * (1 + 25 + 1)),
        "objects beside ids are rows too"
    );
}

/// The first response of a subscription says what it costs, and no other.
#[tokio::test]
async fn a_subscription_says_once_what_it_costs() {
    let own = Own::read().await;
    let feed = "subscription { jobFeed(jobId: \"x\") { ... on FeedEnd { position } ... on JobSnapshot { job { id } } } }";
    let mut responses = own.schema.execute_stream(Request::new(feed));
    let first = responses.next().await.expect("a response");
    let first = serde_json::to_value(&first).expect("JSON");
    // The feed and its position; the job, which is a row, and its id.
    assert_eq!(
        first["extensions"]["cost"]["requested"],
        json!(1 + 1 + (1 + 25 + 1)),
        "{first}"
    );
    while let Some(more) = responses.next().await {
        assert!(!more.extensions.contains_key("cost"), "{more:?}");
    }
}

/// Every answer says what it cost, also over the wire; the variables count.
#[tokio::test]
async fn answers_say_what_they_cost() {
    let app = TestApp::start().await;
    let cost = |requested: u64| json!({ "requested": requested, "limit": COST.limit });
    let plain = app.admin.run("{ version }", json!({})).await;
    assert_eq!(plain.body["extensions"]["cost"], cost(1), "{}", plain.body);
    let query = "query($n: Int) { projects(first: $n) { nodes { id } } }";
    for (variables, rows) in [
        (json!({ "n": 100 }), 100),
        (json!({}), 25),
        (json!({ "n": null }), 25),
    ] {
        let answer = app.admin.run(query, variables).await;
        assert_eq!(
            answer.body["extensions"]["cost"],
            cost(1 + 1 + rows * 26),
            "{}",
            answer.body
        );
    }
    let failing = app.client().run("{ me { id } version }", json!({})).await;
    assert_eq!(
        failing.body["extensions"]["cost"]["limit"], COST.limit,
        "{}",
        failing.body
    );
    let dear = "{ projects(first: 100) { nodes { experiments(first: 100) { nodes { id } } } } }";
    let refused = app.admin.run(dear, json!({})).await;
    assert_eq!(refused.code(), Some("QUERY_TOO_LARGE"));
    let extensions = &refused.body["errors"][0]["extensions"];
    assert_eq!(
        extensions["cost"], refused.body["extensions"]["cost"]["requested"],
        "{}",
        refused.body
    );
    assert!(refused.body.get("data").is_none(), "{}", refused.body);
    app.stop().await;
}
