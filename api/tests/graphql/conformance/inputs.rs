//! What is missing or cannot be kept is the caller's fault, for every operation of the real schema.
//!
//! One rule: operations and their arguments are read from the schema, so a new resolver cannot be forgotten.
//! Nothing stands behind the schema: whoever got as far as a resolver would answer with another error.

use std::collections::BTreeMap;

use api::graphql::spec::{SpecOptions, SpecSchema};
use async_graphql::{Request, Variables};
use serde_json::{Value, json};

const INTROSPECTION: &str = "{ __schema {
    queryType { name } mutationType { name } subscriptionType { name }
    types {
        kind name isOneOf enumValues { name }
        fields { name args { name defaultValue type { ...T } } type { ...T } }
        inputFields { name defaultValue type { ...T } }
    }
} }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

pub(super) struct Own {
    pub(super) schema: api::graphql::AnnealSchema,
    pub(super) types: BTreeMap<String, Value>,
    pub(super) roots: Vec<(&'static str, String)>,
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a name: {value}"))
}

pub(super) fn written(ty: &Value) -> String {
    match text(&ty["kind"]) {
        "NON_NULL" => format!("{}!", written(&ty["ofType"])),
        "LIST" => format!("[{}]", written(&ty["ofType"])),
        _ => text(&ty["name"]).to_owned(),
    }
}

/// A refusal's messages, with the proof that it is one.
fn refused(response: &async_graphql::Response, what: &str) -> String {
    let error = response.errors.first().unwrap_or_else(|| panic!("{what} passes"));
    assert_eq!(response.data, async_graphql::Value::Null, "{what}: {response:?}");
    assert!(error.path.is_empty(), "{what} came to a resolver: {error:?}");
    let code = error
        .extensions
        .as_ref()
        .and_then(|extensions| extensions.get("code"));
    assert_eq!(
        code,
        Some(&async_graphql::Value::from("BAD_USER_INPUT")),
        "{what}: {error:?}"
    );
    let messages: Vec<&str> = response
        .errors
        .iter()
        .map(|error| error.message.as_str())
        .collect();
    messages.join(" ")
}

impl Own {
    pub(super) async fn read() -> Self {
        let options = SpecOptions {
            cost: None,
            ..api::graphql::options()
        };
        let schema = SpecSchema::with(api::graphql::builder, options);
        let answer = schema.execute(Request::new(INTROSPECTION)).await;
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        let mut read = answer.data.into_json().expect("JSON");
        let read = read["__schema"].take();
        let roots = [
            ("query", "queryType"),
            ("mutation", "mutationType"),
            ("subscription", "subscriptionType"),
        ];
        let roots = roots
            .map(|(kind, root)| (kind, text(&read[root]["name"]).to_owned()))
            .to_vec();
        let types = list(&read["types"]).iter();
        let types = types
            .map(|ty| (text(&ty["name"]).to_owned(), ty.clone()))
            .collect();
        Self { schema, types, roots }
    }

    /// Every root field with its kind of operation.
    fn operations(&self) -> Vec<(&'static str, &Value)> {
        let fields = |(kind, root): &(&'static str, String)| {
            let kind = *kind;
            list(&self.types[root]["fields"])
                .iter()
                .map(move |field| (kind, field))
        };
        self.roots.iter().flat_map(fields).collect()
    }

    /// The operation that calls `field` with a variable for each argument, each required.
    fn document(&self, kind: &str, field: &Value) -> String {
        let name = text(&field["name"]);
        let (mut declared, mut given) = (String::new(), String::new());
        for arg in list(&field["args"]) {
            let (arg, ty) = (text(&arg["name"]), written(&arg["type"]));
            declared += &format!("${arg}: {}! ", ty.trim_end_matches('!'));
            given += &format!("{arg}: ${arg} ");
        }
        let mut named = &field["type"];
        while !named["ofType"].is_null() {
            named = &named["ofType"];
        }
        let below = match text(&named["kind"]) {
            "SCALAR" | "ENUM" => "",
            _ => "{ __typename }",
        };
        if given.is_empty() {
            return format!("{kind} {{ {name} {below} }}");
        }
        format!("{kind} ({declared}) {{ {name}({given}) {below} }}")
    }

    /// A value of a type, with `text_of` each place that takes a text. Where only some texts are right, such a one
    /// stands instead, unless the text is spoilt by a U+0000.
    pub(super) fn value(&self, ty: &Value, at: &str, depth: u32, text_of: &dyn Fn(&str) -> String) -> Value {
        match text(&ty["kind"]) {
            "NON_NULL" => self.value(&ty["ofType"], at, depth, text_of),
            "LIST" => json!([self.value(&ty["ofType"], &format!("{at}[0]"), depth, text_of)]),
            "ENUM" => self.types[text(&ty["name"])]["enumValues"][0]["name"].clone(),
            "INPUT_OBJECT" => self.object(text(&ty["name"]), at, depth, text_of),
            _ => match text(&ty["name"]) {
                "Int" => json!(1),
                "Float" => json!(1.5),
                "Boolean" => json!(true),
                scalar => {
                    let given = text_of(at);
                    match scalar {
                        _ if given.contains('\0') => json!(given),
                        "DateTime" => json!("2026-01-01T00:00:00Z"),
                        "Long" => json!("1"),
                        "UUID" => json!("7d2f1a3c-0000-4000-8000-000000000001"),
                        _ => json!(given),
                    }
                }
            },
        }
    }

    fn object(&self, name: &str, at: &str, depth: u32, text_of: &dyn Fn(&str) -> String) -> Value {
        let ty = &self.types[name];
        let mut object = serde_json::Map::new();
        for field in list(&ty["inputFields"]) {
            let field_name = text(&field["name"]);
            let must = text(&field["type"]["kind"]) == "NON_NULL";
            if must || depth < 4 {
                let value = self.value(&field["type"], &format!("{at}.{field_name}"), depth + 1, text_of);
                object.insert(field_name.to_owned(), value);
            }
        }
        if ty["isOneOf"] == json!(true) {
            let spoilt = object
                .iter()
                .find(|(_, value)| value.to_string().contains("\\u0000"));
            let one = spoilt.or_else(|| object.iter().next());
            let (name, value) = one.expect("a field");
            return json!({ name: value });
        }
        Value::Object(object)
    }

    pub(super) async fn run(&self, document: &str, variables: &Value) -> async_graphql::Response {
        use futures::StreamExt as _;
        let request = Request::new(document).variables(Variables::from_json(variables.clone()));
        self.schema
            .execute_stream(request)
            .next()
            .await
            .expect("a response")
    }
}

#[tokio::test]
async fn every_operation_names_each_variable_that_is_missing() {
    let own = Own::read().await;
    let mut tried = 0;
    for (kind, field) in own.operations() {
        let document = own.document(kind, field);
        let names: Vec<&str> = list(&field["args"])
            .iter()
            .map(|arg| text(&arg["name"]))
            .collect();
        let plain = |_: &str| "x".to_owned();
        for missing in &names {
            let others = list(&field["args"])
                .iter()
                .filter(|arg| text(&arg["name"]) != *missing);
            let given: serde_json::Map<String, Value> = others
                .map(|arg| {
                    (
                        text(&arg["name"]).to_owned(),
                        own.value(&arg["type"], "", 0, &plain),
                    )
                })
                .collect();
            for given in [Value::Object(given.clone()), json!({}), json!({ *missing: null })] {
                let message = refused(&own.run(&document, &given).await, &document);
                assert!(
                    message.contains(&format!("\"${missing}\"")),
                    "{document} {given}: {message}"
                );
            }
            tried += 1;
        }
        let conditional = format!(
            "{kind} ($whether: Boolean!) {{ ... @include(if: $whether) {{ {} }} }}",
            text(&field["name"])
        );
        let message = refused(&own.run(&conditional, &json!({})).await, &conditional);
        assert!(message.contains("\"$whether\""), "{conditional}: {message}");
    }
    assert!(tried > 80, "only {tried} variables");
}

#[tokio::test]
async fn every_text_of_every_operation_is_refused_with_a_nul() {
    let own = Own::read().await;
    let mut tried = 0;
    for (kind, field) in own.operations() {
        let document = own.document(kind, field);
        for arg in list(&field["args"]) {
            let name = text(&arg["name"]);
            let places = std::cell::RefCell::new(Vec::new());
            own.value(&arg["type"], name, 0, &|at| {
                places.borrow_mut().push(at.to_owned());
                String::new()
            });
            for place in places.into_inner() {
                let spoilt = |at: &str| {
                    if at == place {
                        "x\0y".to_owned()
                    } else {
                        "x".to_owned()
                    }
                };
                let mut given = serde_json::Map::new();
                for arg in list(&field["args"]) {
                    let arg_name = text(&arg["name"]);
                    given.insert(arg_name.to_owned(), own.value(&arg["type"], arg_name, 0, &spoilt));
                }
                let message = refused(&own.run(&document, &Value::Object(given)).await, &document);
                assert!(
                    message.contains(&format!("\"{place}\"")) && message.contains("U+0000"),
                    "{document} {place}: {message}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 140, "only {tried} texts");
    for literal in [
        "{ user(id: \"x\\u0000\") { id } }",
        "{ auditLog(filter: { kind: \"\\u0000\" }) { nodes { position } } }",
    ] {
        let message = refused(&own.run(literal, &json!({})).await, literal);
        assert!(message.contains("U+0000"), "{literal}: {message}");
    }
}

#[tokio::test]
async fn a_variable_of_the_wrong_type_is_refused_with_its_place() {
    let own = Own::read().await;
    let query = "query ($filter: AuditFilter, $first: Int) { auditLog(filter: $filter, first: $first) { nodes { position } } }";
    for (variables, place) in [
        (json!({ "first": "3" }), "first"),
        (json!({ "first": 1.5 }), "first"),
        (json!({ "first": 3_000_000_000_u64 }), "first"),
        (json!({ "filter": "x" }), "filter"),
        (json!({ "filter": { "nothing": 1 } }), "filter"),
        (json!({ "filter": { "kind": 1 } }), "filter.kind"),
        (json!({ "filter": { "outcome": "NONE" } }), "filter.outcome"),
    ] {
        let message = refused(&own.run(query, &variables).await, &variables.to_string());
        assert!(
            message.contains(&format!("\"{place}\"")),
            "{variables}: {message}"
        );
    }
}
