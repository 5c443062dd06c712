//! No number passes the check before execution and is refused within it, for every argument of the real schema.

use serde_json::{Value, json};

use super::inputs::{Own, list, text, written};
use super::omitted::{document, ways};

/// Whatever a client sends for a number, no resolver of the schema finds that it cannot read it.
#[tokio::test]
async fn no_argument_of_the_schema_is_found_wrong_by_its_resolver() {
    let own = Own::read().await;
    let mut tried = 0;
    for (name, (kind, way)) in ways(&own) {
        for field in list(&own.types[&name]["fields"]) {
            for arg in list(&field["args"]) {
                let (document, values) = with_number(&own, kind, &way, field, arg);
                for number in [1, -1, 0, 300, 70_000, i64::from(i32::MAX), i64::from(i32::MIN)] {
                    let mut values = values.clone();
                    let set = set_numbers(&own, &arg["type"], &mut values["tried"], number);
                    if set == 0 {
                        continue;
                    }
                    let response = own.run(&document, &values).await;
                    let by_resolver = |error: &&async_graphql::ServerError| {
                        let words = ["Failed to parse", "Expected input type", "Only integers"];
                        words.iter().any(|words| error.message.contains(words))
                    };
                    let found = response.errors.iter().find(by_resolver);
                    assert!(found.is_none(), "{document} {values}: {found:?}");
                    let reached = response.errors.iter().all(|error| !error.path.is_empty());
                    assert!(reached || number != 1, "{document} {values}: {response:?}");
                    tried += set;
                }
            }
        }
    }
    assert!(tried > 300, "only {tried} numbers");
}

/// An operation in which `arg` of `field` is the variable `$tried`, and its variables.
fn with_number(own: &Own, kind: &str, way: &[&Value], field: &Value, arg: &Value) -> (String, Value) {
    let name = text(&arg["name"]);
    let mut others = field.clone();
    others["args"] = list(&field["args"])
        .iter()
        .filter(|other| other["name"] != arg["name"] && text(&other["type"]["kind"]) == "NON_NULL")
        .cloned()
        .collect();
    let (document, draft) = document(own, kind, way, &others);
    let called = text(&field["name"]);
    let ty = written(&arg["type"]);
    let (before, after) = document.rsplit_once(&format!("{{ {called}")).expect("the field");
    let document = match after.strip_prefix('(') {
        Some(rest) => format!("{before}{{ {called}({name}: $tried {rest}"),
        None => format!("{before}{{ {called}({name}: $tried){after}"),
    };
    let declared = format!("$tried: {ty}");
    let document = match document.contains("Q(") {
        true => document.replacen("Q(", &format!("Q({declared} "), 1),
        false => document.replacen("Q ", &format!("Q({declared}) "), 1),
    };
    let mut values = Value::Object(draft.values);
    values["tried"] = own.value(&arg["type"], "", 0, &|_| "1".to_owned());
    (document, values)
}

/// Puts a number in each place of a value that takes an `Int`, and counts them.
fn set_numbers(own: &Own, ty: &Value, value: &mut Value, number: i64) -> usize {
    match text(&ty["kind"]) {
        "NON_NULL" => set_numbers(own, &ty["ofType"], value, number),
        "LIST" => {
            let items = value.as_array_mut().expect("a list").iter_mut();
            items
                .map(|item| set_numbers(own, &ty["ofType"], item, number))
                .sum()
        }
        "INPUT_OBJECT" => {
            let fields = list(&own.types[text(&ty["name"])]["inputFields"]).iter();
            let set = fields.filter_map(|field| {
                let value = value.get_mut(text(&field["name"]))?;
                Some(set_numbers(own, &field["type"], value, number))
            });
            set.sum()
        }
        _ if ty["name"] == "Int" => {
            *value = json!(number);
            1
        }
        _ => 0,
    }
}
