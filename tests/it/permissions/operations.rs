//! Every operation of the schema, called by somebody who is not signed in. The HTTP routes beside GraphQL are in
//! `routes`.
//!
//! One rule: operations and their arguments are read from the schema, so a new resolver is called too, without
//! anybody thinking of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::harness::{Client, TestApp};

/// What needs no sign-in. It may only shrink.
const OPEN: [&str; 7] = [
    "createFirstAdministrator",
    "register",
    "verifyEmail",
    "login",
    "refresh",
    "version",
    "server",
];

const INTROSPECTION: &str = "{ __schema {
    queryType { name } mutationType { name } subscriptionType { name }
    types {
        kind name isOneOf
        enumValues { name }
        fields { name args { name defaultValue type { ...T } } type { ...T } }
        inputFields { name defaultValue type { ...T } }
    }
} }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// The schema, as it describes itself.
struct Schema {
    types: BTreeMap<String, Value>,
    roots: [(&'static str, String); 3],
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a name: {value}"))
}

impl Schema {
    async fn of_this_build() -> Self {
        let answer = api::graphql::builder()
            .limit_complexity(100_000)
            .finish()
            .execute(INTROSPECTION)
            .await;
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        let schema = answer.data.into_json().expect("JSON")["__schema"].take();
        let root = |name: &str| text(&schema[name]["name"]).to_owned();
        let roots = [
            ("query", root("queryType")),
            ("mutation", root("mutationType")),
            ("subscription", root("subscriptionType")),
        ];
        let types = list(&schema["types"])
            .iter()
            .map(|one| (text(&one["name"]).to_owned(), one.clone()));
        Self {
            types: types.collect(),
            roots,
        }
    }

    /// A value of that type, as GraphQL writes it: the least that is accepted.
    fn value(&self, of: &Value) -> String {
        match text(&of["kind"]) {
            "NON_NULL" => self.value(&of["ofType"]),
            "LIST" => format!("[{}]", self.value(&of["ofType"])),
            "ENUM" => {
                let known = &self.types[text(&of["name"])];
                text(&list(&known["enumValues"])[0]["name"]).to_owned()
            }
            "INPUT_OBJECT" => self.input(&self.types[text(&of["name"])]),
            "SCALAR" => scalar(text(&of["name"])).to_owned(),
            other => panic!("{other} is no type of an argument"),
        }
    }

    fn input(&self, known: &Value) -> String {
        let fields = list(&known["inputFields"]);
        let chosen: Vec<&Value> = match known["isOneOf"].as_bool() {
            Some(true) => fields.iter().take(1).collect(),
            _ => fields.iter().filter(|field| needed(field)).collect(),
        };
        let fields: Vec<String> = chosen
            .iter()
            .map(|field| format!("{}: {}", text(&field["name"]), self.value(&field["type"])))
            .collect();
        format!("{{ {} }}", fields.join(", "))
    }

    /// A document with only that operation, and its required arguments.
    fn document(&self, operation: &str, field: &Value) -> String {
        let arguments: Vec<String> = list(&field["args"])
            .iter()
            .filter(|argument| needed(argument))
            .map(|argument| format!("{}: {}", text(&argument["name"]), self.value(&argument["type"])))
            .collect();
        let arguments = if arguments.is_empty() {
            String::new()
        } else {
            format!("({})", arguments.join(", "))
        };
        let mut result = &field["type"];
        while result["ofType"].is_object() {
            result = &result["ofType"];
        }
        let selection = match text(&result["kind"]) {
            "OBJECT" | "INTERFACE" | "UNION" => " { __typename }",
            _ => "",
        };
        format!("{operation} {{ {}{arguments}{selection} }}", text(&field["name"]))
    }

    /// Name and document of every operation.
    fn operations(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (operation, root) in &self.roots {
            let fields = list(&self.types[root]["fields"]);
            assert!(!fields.is_empty(), "no {operation} was found");
            let documents = fields
                .iter()
                .map(|field| (text(&field["name"]).to_owned(), self.document(operation, field)));
            all.extend(documents);
        }
        all
    }
}

fn needed(argument: &Value) -> bool {
    argument["type"]["kind"] == "NON_NULL" && argument["defaultValue"].is_null()
}

fn scalar(name: &str) -> &'static str {
    match name {
        "Int" | "Float" | "Long" => "1",
        "Boolean" => "true",
        "ID" | "String" => "\"x\"",
        "DateTime" => "\"2026-11-20T12:00:00Z\"",
        other => panic!("teach this test a value of the scalar {other}"),
    }
}

/// The code of the first error that `client` gets; subscriptions come as server-sent events.
async fn refusal(client: &Client, document: &str) -> Option<String> {
    let accept = if document.starts_with("subscription") {
        "text/event-stream"
    } else {
        "application/json"
    };
    let request = client
        .request(reqwest::Method::POST, "/graphql")
        .header("accept", accept);
    let answer = client.send(request.json(&json!({ "query": document }))).await;
    let body = match answer.body {
        Value::String(events) => {
            let data = events
                .lines()
                .find_map(|line| line.strip_prefix("data:"))
                .unwrap_or_default();
            serde_json::from_str(data.trim()).unwrap_or_else(|_| panic!("{document}: {events}"))
        }
        body => body,
    };
    body["errors"][0]["extensions"]["code"]
        .as_str()
        .map(str::to_owned)
}

/// AC-3, A3: an operation that forgets to ask who calls fails here.
#[tokio::test]
async fn every_operation_demands_a_sign_in() {
    let app = TestApp::start().await;
    let anonymous = app.client();
    let operations = Schema::of_this_build().await.operations();
    assert!(operations.len() > 20, "{operations:?}");
    let mut wrong = Vec::new();
    for (name, document) in &operations {
        let code = refusal(&anonymous, document).await;
        let demanded = code.as_deref() == Some("UNAUTHENTICATED");
        if demanded == OPEN.contains(&name.as_str()) {
            wrong.push(format!("{document}: {code:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "these answer otherwise than they should:\n{}",
        wrong.join("\n")
    );
    app.stop().await;
}

/// The list of what is open has no entry that is not an operation.
#[tokio::test]
async fn what_is_open_exists() {
    let operations = Schema::of_this_build().await.operations();
    for name in OPEN {
        assert!(
            operations.iter().any(|(operation, _)| operation == name),
            "{name} is no operation; take it out"
        );
    }
}
