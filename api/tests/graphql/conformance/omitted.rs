//! An argument that may be left out may be given by a variable without a value, everywhere (6.4.1): Apollo,
//! urql and Relay declare all variables of a list and send those that are set.
//!
//! One rule: fields and their arguments are read from the schema, so a new list cannot be forgotten.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::inputs::{Own, list, text, written};

/// A document under construction.
#[derive(Default)]
pub(super) struct Draft {
    declared: String,
    pub(super) values: Map<String, Value>,
    omitted: usize,
}

fn is_required(input: &Value) -> bool {
    text(&input["type"]["kind"]) == "NON_NULL" && input["defaultValue"].is_null()
}

fn named(ty: &Value) -> &str {
    let mut ty = ty;
    while !ty["ofType"].is_null() {
        ty = &ty["ofType"];
    }
    text(&ty["name"])
}

impl Draft {
    /// A variable with a value.
    fn set(&mut self, own: &Own, ty: &Value) -> String {
        let name = format!("v{}", self.values.len());
        self.declared += &format!("${name}: {}! ", written(ty).trim_end_matches('!'));
        let value = own.value(ty, "", 0, &|_| "1".to_owned());
        self.values.insert(name.clone(), value);
        format!("${name}")
    }

    /// A variable without one.
    fn unset(&mut self, ty: &Value) -> String {
        let name = format!("o{}", self.omitted);
        self.omitted += 1;
        self.declared += &format!("${name}: {} ", written(ty).trim_end_matches('!'));
        format!("${name}")
    }

    /// The arguments of a field: what is required has a value, what is optional has none.
    fn arguments(&mut self, own: &Own, field: &Value, with_optional: bool) -> String {
        let mut given = String::new();
        for arg in list(&field["args"]) {
            let value = match (is_required(arg), with_optional) {
                (true, _) => self.required(own, &arg["type"]),
                (false, true) => self.unset(&arg["type"]),
                (false, false) => continue,
            };
            given += &format!("{}: {value} ", text(&arg["name"]));
        }
        match given.is_empty() {
            true => String::new(),
            false => format!("({given})"),
        }
    }

    /// A required value; an input object is written out, so that its optional fields can be omitted.
    fn required(&mut self, own: &Own, ty: &Value) -> String {
        let of = &own.types[named(ty)];
        let is_object = text(&ty["ofType"]["kind"]) == "INPUT_OBJECT";
        if !is_object || of["isOneOf"] == json!(true) {
            return self.set(own, ty);
        }
        let mut written = String::from("{");
        for field in list(&of["inputFields"]) {
            let value = match is_required(field) {
                true => self.required(own, &field["type"]),
                false => self.unset(&field["type"]),
            };
            written += &format!(" {}: {value}", text(&field["name"]));
        }
        written + " }"
    }
}

/// The shortest way to each type with fields: the kind of operation and the fields on the way.
pub(super) fn ways(own: &Own) -> BTreeMap<String, (&'static str, Vec<&Value>)> {
    let mut ways = BTreeMap::new();
    let mut next: VecDeque<_> = own
        .roots
        .iter()
        .map(|(kind, root)| (root.clone(), (*kind, Vec::new())))
        .collect();
    while let Some((name, (kind, way))) = next.pop_front() {
        if ways.contains_key(&name) || way.len() > 6 {
            continue;
        }
        for field in list(&own.types[&name]["fields"]) {
            let mut longer: Vec<&Value> = way.clone();
            longer.push(field);
            next.push_back((named(&field["type"]).to_owned(), (kind, longer)));
        }
        ways.insert(name, (kind, way));
    }
    ways
}

pub(super) fn document(own: &Own, kind: &str, way: &[&Value], field: &Value) -> (String, Draft) {
    let mut draft = Draft::default();
    let mut opened = String::new();
    for step in way {
        let arguments = draft.arguments(own, step, false);
        opened += &format!("{{ {}{arguments} ", text(&step["name"]));
    }
    let arguments = draft.arguments(own, field, true);
    let below = match text(&own.types[named(&field["type"])]["kind"]) {
        "SCALAR" | "ENUM" => "",
        _ => "{ __typename }",
    };
    opened += &format!("{{ {}{arguments} {below} }}", text(&field["name"]));
    opened += &" }".repeat(way.len());
    let declared = match draft.declared.is_empty() {
        true => String::new(),
        false => format!("({})", draft.declared),
    };
    (format!("{kind} Q{declared} {opened}"), draft)
}

#[tokio::test]
async fn every_optional_argument_may_be_a_variable_without_a_value() {
    let own = Own::read().await;
    let (mut tried, mut refused) = (0, Vec::new());
    for (name, (kind, way)) in ways(&own) {
        for field in list(&own.types[&name]["fields"]) {
            let (document, draft) = document(&own, kind, &way, field);
            if draft.omitted == 0 {
                continue;
            }
            tried += draft.omitted;
            let response = own.run(&document, &Value::Object(draft.values)).await;
            let errors = response.errors.iter().filter(|error| error.path.is_empty());
            refused.extend(errors.map(|error| format!("{document}\n  {}", error.message)));
        }
    }
    assert!(tried > 100, "only {tried} variables");
    assert!(refused.is_empty(), "{}:\n{}", refused.len(), refused.join("\n"));
}

/// What an operation costs is counted with its own variables, and without the operations beside it.
#[tokio::test]
async fn operations_that_are_not_run_need_no_variables_and_cost_nothing() {
    let own = Own::read().await;
    let one = "query A { version } query B($n: Int!, $m: Int) { jobs(first: $n) { nodes { id name } }
        more: jobs(first: $m) { nodes { id } } }";
    let request = async_graphql::Request::new(one).operation_name("A");
    let response = own.schema.execute(request).await;
    // Nothing stands behind the schema: the resolver was reached, and fails.
    let places: Vec<_> = response.errors.iter().map(|error| error.path.len()).collect();
    assert_eq!(places, [1], "{:?}", response.errors);
}

/// The real errors of a document come without one about a variable that has no value.
#[tokio::test]
async fn a_missing_value_is_not_an_error_beside_the_real_ones() {
    let own = Own::read().await;
    for (query, wanted) in [
        (
            "query ($x: Int, $x: Int) { jobs(first: $x) { nodes { id } } }",
            "$x",
        ),
        (
            "query ($x: Int, $y: Int) { jobs(first: $x) { nodes { id } } }",
            "$y",
        ),
        ("query ($x: Int) { jobs(first: $x) { nothing } }", "nothing"),
    ] {
        let response = own.run(query, &json!({})).await;
        let messages: Vec<_> = response.errors.iter().map(|error| &error.message).collect();
        assert!(
            messages.len() == 1 && messages[0].contains(wanted),
            "{query}: {messages:?}"
        );
    }
}

/// The bound is on what the values of the variables make of it.
#[tokio::test]
async fn a_query_that_costs_too_much_says_what_it_costs() {
    let schema = api::graphql::AnnealSchema::with(api::graphql::builder, api::graphql::options());
    let query = "query ($n: Int, $after: String) { jobs(first: $n, after: $after) { nodes { id } }
        projects(first: $n) { nodes { experiments(first: $n) { nodes { id } } } } }";
    for (variables, cost) in [
        (json!({}), None),
        (json!({ "n": null }), None),
        (json!({ "n": 100 }), Some("the query costs ")),
    ] {
        let request = async_graphql::Request::new(query);
        let response = schema
            .execute(request.variables(async_graphql::Variables::from_json(variables.clone())))
            .await;
        let refusal = response.errors.iter().find(|error| error.path.is_empty());
        let Some(cost) = cost else {
            assert!(refusal.is_none(), "{variables}: {refusal:?}");
            continue;
        };
        let refusal = refusal.unwrap_or_else(|| panic!("{variables}: {:?}", response.errors));
        assert!(refusal.message.starts_with(cost), "{}", refusal.message);
        assert!(refusal.message.contains("at most 50000"), "{}", refusal.message);
        let code = refusal
            .extensions
            .as_ref()
            .and_then(|extensions| extensions.get("code"));
        assert_eq!(code, Some(&async_graphql::Value::from("QUERY_TOO_LARGE")));
        let cost = |key: &str| {
            refusal
                .extensions
                .as_ref()
                .and_then(|extensions| extensions.get(key))
                .cloned()
        };
        assert_eq!(cost("limit"), Some(async_graphql::Value::from(50_000)));
        // A connection is a field with a field and its rows: 25 points each besides what is selected of them.
        let jobs = 1 + 1 + 100 * (25 + 1);
        let projects = 1 + 1 + 100 * (25 + jobs);
        assert_eq!(cost("cost"), Some(async_graphql::Value::from(jobs + projects)));
    }
}
