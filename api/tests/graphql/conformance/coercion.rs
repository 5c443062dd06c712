//! Values are coerced before anything runs (6.1.2, 5.6.1): a mutation with a wrong value commits nothing.
//!
//! One rule: each wrong value is tried as a literal, as a variable, as a variable within a literal and as a
//! variable's default, behind a mutation that is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::graphql::as_of::AsOfInput;
use api::graphql::scalars::Long;
use api::graphql::spec::{InputChecks, SpecOptions, SpecSchema};
use async_graphql::{
    Context, EmptySubscription, InputObject, Object, Request, Response, Result, Schema, Variables,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

/// Something of each kind that a client can send.
#[derive(InputObject)]
struct Take {
    position: Option<Long>,
    at: Option<OffsetDateTime>,
    id: Option<Uuid>,
    as_of: Option<AsOfInput>,
    seconds: Option<u32>,
    percents: Option<Vec<u8>>,
    #[graphql(default = 1)]
    least: i32,
    inner: Option<Box<Take>>,
}

struct Query;

#[Object]
impl Query {
    async fn version(&self) -> i32 {
        1
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn commit(&self, context: &Context<'_>) -> Result<u32> {
        Ok(context.data::<Arc<AtomicU32>>()?.fetch_add(1, Ordering::SeqCst) + 1)
    }

    async fn take(&self, input: Take) -> bool {
        let Take {
            position,
            at,
            id,
            as_of,
            seconds,
            percents,
            least,
            inner,
        } = input;
        let given = [
            position.is_some(),
            at.is_some(),
            id.is_some(),
            as_of.is_some(),
            seconds.is_some(),
            percents.is_some(),
            least != 1,
            inner.is_some(),
        ];
        given.contains(&true)
    }

    async fn take_position(&self, position: Long) -> bool {
        position.0 > 0
    }

    async fn take_times(&self, times: Vec<OffsetDateTime>) -> usize {
        times.len()
    }
}

struct Ledger {
    schema: SpecSchema<Query, Mutation, EmptySubscription>,
    commits: Arc<AtomicU32>,
}

impl Ledger {
    fn new() -> Self {
        let commits = Arc::new(AtomicU32::new(0));
        let builder = || Schema::build(Query, Mutation, EmptySubscription).data(Arc::clone(&commits));
        let inputs = InputChecks::default()
            .with::<Long>()
            .with::<OffsetDateTime>()
            .with::<Uuid>()
            .with::<AsOfInput>()
            .with::<Take>();
        let options = SpecOptions {
            inputs,
            ..SpecOptions::default()
        };
        let schema = SpecSchema::with(builder, options);
        Self { schema, commits }
    }

    async fn run(&self, document: &str, variables: &Value) -> Response {
        let request = Request::new(document).variables(Variables::from_json(variables.clone()));
        self.schema.execute(request).await
    }

    /// Runs what has to be refused before anything is committed, and gives the one message.
    async fn refused(&self, document: &str, variables: &Value) -> String {
        let response = self.run(document, variables).await;
        let what = format!("{document} {variables}: {response:?}");
        assert_eq!(self.commits.load(Ordering::SeqCst), 0, "{what}");
        assert_eq!(response.data, async_graphql::Value::Null, "{what}");
        let [error] = response.errors.as_slice() else {
            panic!("not one error: {what}");
        };
        assert!(error.path.is_empty() && !error.locations.is_empty(), "{what}");
        error.message.clone()
    }
}

/// A wrong field of `Take`: its name, its value as JSON, the place and the words for it.
fn wrong_fields() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let long = "Expected value of type \"Long\", found";
    let not_negative = "Expected value of type \"Int\", found -1; the number must not be negative here.";
    let one_key = "OneOf Input Object \"AsOf\" must specify exactly one key.";
    vec![
        ("position", json!(-1), ".position", long),
        ("position", json!("x"), ".position", long),
        ("position", json!("18446744073709551616"), ".position", long),
        ("position", json!(1.5), ".position", long),
        ("position", json!(true), ".position", long),
        (
            "at",
            json!("yesterday"),
            ".at",
            "Expected value of type \"DateTime\", found \"yesterday\"; ",
        ),
        (
            "at",
            json!(5),
            ".at",
            "Expected value of type \"DateTime\", found 5.",
        ),
        (
            "id",
            json!("1-2"),
            ".id",
            "Expected value of type \"UUID\", found \"1-2\"; ",
        ),
        ("asOf", json!({}), ".asOf", one_key),
        (
            "asOf",
            json!({ "at": "2026-01-01T00:00:00Z", "position": 1 }),
            ".asOf",
            one_key,
        ),
        (
            "asOf",
            json!({ "at": null }),
            ".asOf.at",
            "Field \"AsOf.at\" must be non-null.",
        ),
        ("asOf", json!({ "position": "x" }), ".asOf.position", long),
        ("seconds", json!(-1), ".seconds", not_negative),
        (
            "percents",
            json!([1, 256]),
            ".percents",
            "Only integers from 0 to 255 are accepted",
        ),
        (
            "least",
            json!(3_000_000_000_u64),
            ".least",
            "Int cannot represent non 32-bit signed integer value: 3000000000",
        ),
        (
            "least",
            json!("3"),
            ".least",
            "Int cannot represent non-integer value: \"3\"",
        ),
        ("inner", json!({ "seconds": -1 }), ".inner.seconds", not_negative),
        (
            "inner",
            json!({ "nothing": 1 }),
            ".inner",
            "Field \"nothing\" is not defined by type \"Take\".",
        ),
    ]
}

/// JSON as a literal.
fn literal(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", literal(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

#[tokio::test]
async fn a_mutation_with_a_wrong_value_commits_nothing() {
    let types = [
        ("position", "Long"),
        ("at", "DateTime"),
        ("id", "UUID"),
        ("asOf", "AsOf"),
        ("seconds", "Int"),
        ("percents", "[Int!]"),
        ("least", "Int!"),
        ("inner", "Take"),
    ];
    let ledger = Ledger::new();
    for (field, value, place, words) in wrong_fields() {
        let ty = types.iter().find(|(name, _)| *name == field).expect("a type").1;
        let (written, given) = (literal(&value), json!({ field: value }));
        let whole = "mutation ($input: Take!) { commit take(input: $input) }";
        let inline = format!("mutation {{ commit take(input: {{ {field}: {written} }}) }}");
        let within = format!("mutation ($v: {ty}) {{ commit take(input: {{ {field}: $v }}) }}");
        let default =
            format!("mutation ($input: Take = {{ {field}: {written} }}) {{ commit take(input: $input) }}");
        let tried = [
            (
                whole,
                json!({ "input": given }),
                "Variable \"$input\" got invalid value at \"input",
            ),
            (
                &inline,
                json!({}),
                "Argument \"input\" of field \"Mutation.take\" got invalid value at \"input",
            ),
            (
                &default,
                json!({}),
                "Variable \"$input\" got invalid default value at \"input",
            ),
        ];
        for (document, variables, start) in tried {
            let message = ledger.refused(document, &variables).await;
            assert!(
                message.starts_with(&format!("{start}{place}\"; ")),
                "{document} {variables}: {message}"
            );
            assert!(message.contains(words), "{document} {variables}: {message}");
        }
        let message = ledger.refused(&within, &json!({ "v": value })).await;
        assert!(message.contains(words), "{within}: {message}");
    }
}

#[tokio::test]
async fn a_mutation_with_right_values_runs() {
    let ledger = Ledger::new();
    let right = json!({
        "position": "18446744073709551615", "at": "2026-01-01T00:00:00+02:00",
        "id": "00000000-0000-0000-0000-000000000001", "asOf": { "position": 1 }, "seconds": 2_147_483_647,
        "percents": 255, "inner": { "inner": { "seconds": 0 }, "position": 0 }
    });
    let inline = format!("mutation {{ commit take(input: {}) }}", literal(&right));
    let whole = "mutation ($input: Take!) { commit take(input: $input) }";
    let within = "mutation ($s: Int, $p: Long, $o: Int) {
        commit take(input: { seconds: $s, asOf: { position: $p }, percents: [$s, 1], inner: { seconds: $o } })
        takePosition(position: 3) takeTimes(times: \"2026-01-01T00:00:00Z\") }";
    for (document, variables) in [
        (inline.as_str(), json!({})),
        (whole, json!({ "input": right })),
        (
            &within
                .replace("$s: Int", "$s: Int!")
                .replace("$p: Long", "$p: Long!"),
            json!({ "s": 5, "p": 7 }),
        ),
    ] {
        let response = ledger.run(document, &variables).await;
        assert!(response.errors.is_empty(), "{document}: {response:?}");
    }
    assert_eq!(ledger.commits.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn wrong_arguments_are_named_before_anything_runs() {
    let ledger = Ledger::new();
    for (document, variables, wanted) in [
        (
            "mutation { commit takePosition(position: -3) }",
            json!({}),
            "Argument \"position\" of field \"Mutation.takePosition\" got invalid value at \"position\"; \
             Expected value of type \"Long\", found -3; expected a whole number from 0 to 18446744073709551615.",
        ),
        (
            "mutation ($p: Long!) { commit takePosition(position: $p) }",
            json!({ "p": [1] }),
            "Variable \"$p\" got invalid value at \"p\"; \
             Expected value of type \"Long\", found a list; expected a whole number from 0 to 18446744073709551615.",
        ),
        (
            "mutation ($p: Long! = \"x\") { commit takePosition(position: $p) }",
            json!({ "p": 1 }),
            "Variable \"$p\" got invalid default value at \"p\"; \
             Expected value of type \"Long\", found \"x\"; expected a whole number from 0 to 18446744073709551615.",
        ),
        (
            "mutation ($t: [DateTime!]!) { commit takeTimes(times: $t) }",
            json!({ "t": ["2026-01-01T00:00:00Z", 7] }),
            "Variable \"$t\" got invalid value at \"t[1]\"; Expected value of type \"DateTime\", found 7.",
        ),
        (
            "mutation ($s: String) { commit take(input: { seconds: $s }) }",
            json!({}),
            "Variable \"$s\" of type \"String\" used in position expecting type \"Int\".",
        ),
        (
            "mutation ($p: Long) { commit take(input: { asOf: { position: $p } }) }",
            json!({}),
            "Argument \"input\" of field \"Mutation.take\" got invalid value at \"input.asOf\"; \
             OneOf Input Object \"AsOf\" must specify exactly one key.",
        ),
        (
            "mutation { commit takePosition }",
            json!({}),
            "Argument \"position\" of type \"Long!\" is required on field \"Mutation.takePosition\", \
             but it was not provided.",
        ),
        (
            "mutation { commit ... on Mutation { takePosition(position: FOUR) } }",
            json!({}),
            "Argument \"position\" of field \"Mutation.takePosition\" got invalid value at \"position\"; \
             Expected value of type \"Long\", found FOUR; expected a whole number from 0 to 18446744073709551615.",
        ),
    ] {
        assert_eq!(ledger.refused(document, &variables).await, wanted, "{document}");
    }
}

/// A new scalar or input object cannot be forgotten: the schema is not built without it.
#[test]
fn every_custom_input_of_the_schema_is_read_by_its_own_code() {
    let inputs = api::graphql::options().inputs;
    let definition = include_str!("../../../../schema/schema.graphql");
    let mut counted = 0;
    for line in definition.lines() {
        let Some(name) = line
            .strip_prefix("scalar ")
            .or_else(|| line.strip_prefix("input "))
        else {
            continue;
        };
        let name = name.split(' ').next().expect("a name");
        assert!(inputs.contains(name), "{name}");
        counted += 1;
    }
    assert!(counted > 30, "only {counted} inputs");
    let built = std::panic::catch_unwind(|| {
        let options = SpecOptions {
            inputs: InputChecks::default(),
            ..api::graphql::options()
        };
        api::graphql::AnnealSchema::with(api::graphql::builder, options)
    });
    let why = built.err().expect("a schema whose inputs are not read");
    let why = why.downcast_ref::<String>().expect("a message");
    assert!(
        why.contains("\"Long\"") && why.contains("\"StartJobInput\""),
        "{why}"
    );
}
