//! The rules, each broken on purpose, and the schema of this build.

use super::{Schema, changes, compare::compare, lint::lint, read};

const RELEASED: &str = r#"
schema { query: Query mutation: Mutation }
type Query { "One." thing(id: ID!, size: Int): Thing "Old." old: Int @deprecated(reason: "use thing") }
type Mutation { "Makes." make(input: MakeInput!): MakePayload }
input MakeInput { "Name." name: String! "Tag." tag: String }
type MakePayload { "Made." thing: Thing }
type Thing { "Id." id: ID! "Size." size: Int! "State." state: State }
enum State { "On." ON "Off." OFF }
union Any = Thing
"#;

fn schema(definition: &str) -> Schema {
    Schema::read(definition).expect("a schema")
}

fn changed(from: &str, to: &str) -> (Vec<String>, Vec<String>) {
    assert!(RELEASED.contains(from), "{from}");
    let released = schema(RELEASED);
    let changes = compare(None, &released, &schema(&RELEASED.replace(from, to)));
    (changes.breaking, changes.dangerous)
}

#[test]
fn what_breaks_clients_is_breaking() {
    for (from, to, named) in [
        (r#""Size." size: Int!"#, "", "Thing.size is gone"),
        (
            r#""Size." size: Int!"#,
            r#""Size." size: Int"#,
            "Thing.size was of type Int! and is of type Int",
        ),
        (
            r#""State." state: State"#,
            r#""State." state: String"#,
            "Thing.state was of type State",
        ),
        (
            "size: Int)",
            "size: Int!)",
            "Query.thing(size:) was of type Int and is of type Int!",
        ),
        ("id: ID!, size: Int", "id: ID!", "Query.thing(size:) is gone"),
        (
            "size: Int)",
            "size: Int, more: Int!)",
            "Query.thing(more:) is new and required",
        ),
        (
            r#""Tag." tag: String"#,
            r#""Tag." tag: String!"#,
            "MakeInput.tag was of type",
        ),
        (
            r#""Tag." tag: String"#,
            r#""Tag." tag: String "New." new: Int!"#,
            "MakeInput.new is new and required",
        ),
        (r#""Off." OFF"#, "", "State.OFF is gone"),
        (
            "union Any = Thing",
            "union Any = MakePayload",
            "Any has lost Thing",
        ),
        ("union Any = Thing", "", "the type Any is gone"),
        (
            "union Any = Thing",
            "scalar Any",
            "the type Any was a Union and is a Scalar",
        ),
    ] {
        let (breaking, _) = changed(from, to);
        assert!(
            breaking.iter().any(|one| one.contains(named)),
            "{to}: {breaking:?}"
        );
    }
}

#[test]
fn what_only_some_clients_trip_over_is_dangerous_and_no_more() {
    for (from, to, named) in [
        (
            r#""Off." OFF"#,
            r#""Off." OFF "New." NEW"#,
            "State.NEW is a new value",
        ),
        (
            "union Any = Thing",
            "union Any = Thing | MakePayload",
            "Any has got MakePayload",
        ),
        (
            "size: Int)",
            "size: Int = 3)",
            "the default of Query.thing(size:) was none and is 3",
        ),
        (
            r#""Tag." tag: String"#,
            r#""Tag." tag: String "New." new: Int"#,
            "MakeInput.new is a new input",
        ),
    ] {
        let (breaking, dangerous) = changed(from, to);
        assert_eq!(breaking, [""; 0], "{to}");
        assert!(
            dangerous.iter().any(|one| one.contains(named)),
            "{to}: {dangerous:?}"
        );
    }
    let harmless = changed(r#""Size." size: Int!"#, r#""Size." size: Int! "New." new: Int"#);
    assert_eq!(harmless, (Vec::new(), Vec::new()));
    let looser = changed(r#""Name." name: String!"#, r#""Name." name: String"#);
    assert_eq!(looser, (Vec::new(), Vec::new()));
}

/// What goes has been deprecated in the last two releases.
#[test]
fn a_deprecated_field_goes_after_two_releases() {
    let released = schema(RELEASED);
    let old = r#""Old." old: Int @deprecated(reason: "use thing")"#;
    let without = schema(&RELEASED.replace(old, ""));
    let fresh = schema(&RELEASED.replace(old, r#""Old." old: Int"#));
    assert_eq!(compare(Some(&released), &released, &without).breaking, [""; 0]);
    for before in [None, Some(&fresh)] {
        let breaking = compare(before, &released, &without).breaking;
        assert!(
            breaking.len() == 1 && breaking[0].contains("Query.old is gone"),
            "{breaking:?}"
        );
    }
}

/// The newest release by its version is what counts, not by its name.
#[test]
fn the_last_release_is_compared_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let present = schema(RELEASED);
    assert_eq!(
        changes(&folder.path().join("none"), &present)
            .expect("read")
            .breaking,
        [""; 0]
    );
    file("0.9.0.graphql", RELEASED);
    file(
        "0.10.0.graphql",
        &RELEASED.replace("enum State {", r#"enum State { "Gone." GONE"#),
    );
    let breaking = changes(folder.path(), &present).expect("read").breaking;
    assert!(
        breaking.len() == 1 && breaking[0].contains("State.GONE"),
        "{breaking:?}"
    );
    file("notes.txt", "");
    assert!(changes(folder.path(), &present).is_err());
}

/// A schema with nothing wrong; each rule is broken once in it.
const CLEAN: &str = r#"
schema { query: Query mutation: Mutation }
"Q." type Query {
    "Things." things(
        "C." filter: ThingFilter, "O." order: ThingOrder, "F." first: Int, "A." after: String
    ): ThingConnection
    "One." node("I." id: ID!): Node
}
"M." type Mutation { "Makes." makeThing("I." input: MakeThingInput!): MakeThingPayload! }
"C." input ThingFilter { "N." nameContains: String }
"O." input ThingOrder { "B." ascending: Boolean }
"I." input MakeThingInput { "N." name: String! }
"P." type MakeThingPayload { "T." thing: Thing "P." position: Long "E." userErrors: [UserError!]! }
"U." type UserError { "M." message: String! }
"N." interface Node { "I." id: ID! }
"T." type Thing implements Node { "I." id: ID! "N." name: String! "O." otherId: ID "O." other: Other }
"O." type Other implements Node { "I." id: ID! "N." name: String! }
"C." type ThingConnection {
    "E." edges: [ThingEdge!]! "N." nodes: [Thing!]! "P." pageInfo: PageInfo! "T." totalCount: Int
}
"E." type ThingEdge { "C." cursor: String! "N." node: Thing! }
"P." type PageInfo { "H." hasNextPage: Boolean! }
"L." scalar Long @specifiedBy(url: "https://example.org")
"S." enum State { "O." ON }
"#;

#[test]
fn a_broken_rule_is_named_with_its_place() {
    assert_eq!(lint(&schema(CLEAN)), [""; 0]);
    for (from, to, named) in [
        (
            r#""M." message"#,
            "message",
            "UserError.message: has no description",
        ),
        (
            r#""U." type UserError"#,
            "type UserError",
            "UserError: has no description",
        ),
        (r#""O." ON"#, "ON", "State.ON: has no description"),
        (
            r#""F." first"#,
            "first",
            "Query.things(first:): has no description",
        ),
        (
            r#""M." message"#,
            r#""M." the_message"#,
            "UserError.the_message: a name is in camelCase",
        ),
        (
            r#""M." message"#,
            r#""M." getMessage"#,
            "UserError.getMessage: a name is in camelCase",
        ),
        (r#""O." ON"#, r#""O." On"#, "State.On: an enum's value"),
        (
            r#""O." otherId: ID"#,
            r#""O." otherId: String"#,
            "Thing.otherId: an id is of type ID",
        ),
        (
            r#""O." other: Other"#,
            "",
            "Thing.otherId: other stands beside it",
        ),
        (
            "type Other implements Node",
            "type Other",
            "Other: what has an id implements Node",
        ),
        (
            r#"@specifiedBy(url: "https://example.org")"#,
            "",
            "Long: a scalar needs @specifiedBy",
        ),
        (
            r#""T." totalCount: Int"#,
            "",
            "ThingConnection: totalCount is of type Int",
        ),
        (
            r#""A." after: String"#,
            "",
            "Query.things: a connection takes after: String",
        ),
        (
            r#""C." filter: ThingFilter,"#,
            "",
            "Query.things: a connection takes filter of a type …Filter",
        ),
        (
            r#""O." order: ThingOrder,"#,
            r#""O." order: String,"#,
            "Query.things: a connection takes order of a type …Order",
        ),
        (
            "): ThingConnection",
            "): ThingConnection!",
            "Query.things: a connection may fail alone",
        ),
        (
            "): Node",
            "): Node!",
            "Query.node: a field of the root is nullable",
        ),
        (
            "input: MakeThingInput!",
            "input: MakeThingInput",
            "Mutation.makeThing: takes one argument",
        ),
        (
            r#""P." position: Long"#,
            "",
            "MakeThingPayload: position is of type Long",
        ),
        (
            r#""T." thing: Thing"#,
            r#""T." thing: Thing!"#,
            "MakeThingPayload.thing: is null when",
        ),
        (
            r#"type Other implements Node { "I." id: ID! "N." name: String!"#,
            r#"type Other implements Node { "I." id: ID! "N." name: String"#,
            "Node: Thing.name is String!, Other.name is String",
        ),
        (
            r#""M." message: String!"#,
            r#""M." message: String! @deprecated"#,
            "UserError.message: a deprecation",
        ),
    ] {
        assert!(CLEAN.contains(from), "{from}");
        let found = lint(&schema(&CLEAN.replace(from, to)));
        assert!(found.iter().any(|one| one.starts_with(named)), "{to}: {found:?}");
    }
}

#[test]
fn the_schema_of_this_build_keeps_to_the_rules() {
    let root = crate::root().expect("a root");
    let schema = schema(&read(&root.join(super::SCHEMA)).expect("a schema"));
    assert_eq!(lint(&schema), [""; 0]);
}
