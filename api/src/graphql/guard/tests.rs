//! GQ-6: the known bombs are refused, ordinary documents and stock introspection pass.

mod wordings;

use std::fmt::Write as _;

use async_graphql::Request;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::OperationType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Limits, Refusal, RefusalCode, check, check_source, check_variables};

fn verdict(document: &str) -> Result<OperationType, Refusal> {
    check(&mut Request::new(document), &Limits::default())
}

fn code(document: &str) -> Option<RefusalCode> {
    verdict(document).err().map(|refusal| refusal.code)
}

const TOO_LARGE: Option<RefusalCode> = Some(RefusalCode::QueryTooLarge);
const BAD_INPUT: Option<RefusalCode> = Some(RefusalCode::BadUserInput);

/// `levels` fragments, each spreading the next one `width` times.
fn fan_out(width: usize, levels: usize) -> String {
    let mut document = String::from("{ ...F0 }");
    for level in 0..levels {
        let spreads = format!("...F{} ", level + 1).repeat(width);
        let _ = write!(document, "fragment F{level} on Query {{ {spreads} }}");
    }
    let _ = write!(document, "fragment F{levels} on Query {{ a }}");
    document
}

#[test]
fn ordinary_documents_pass_and_name_their_kind() {
    assert_eq!(verdict("{ a }"), Ok(OperationType::Query));
    assert_eq!(
        verdict("mutation M($i: [Int!] = [1]) { a(i: $i) { b } }"),
        Ok(OperationType::Mutation)
    );
    assert_eq!(verdict("subscription { a }"), Ok(OperationType::Subscription));
}

/// The introspection query of graphql-js 16, nine levels of `ofType`.
#[test]
fn stock_introspection_passes() {
    let of_type = (0..9).fold(String::new(), |inner, _| {
        format!("kind name ofType {{ kind name {inner} }}")
    });
    let document = format!(
        "query IntrospectionQuery {{ __schema {{ description queryType {{ name kind }} mutationType {{ name kind }}
         subscriptionType {{ name kind }} types {{ ...FullType }} directives {{ name description isRepeatable locations
         args(includeDeprecated: true) {{ ...InputValue }} }} }} }}
         fragment FullType on __Type {{ kind name description specifiedByURL isOneOf
         fields(includeDeprecated: true) {{ name description args(includeDeprecated: true) {{ ...InputValue }}
         type {{ ...TypeRef }} isDeprecated deprecationReason }}
         inputFields(includeDeprecated: true) {{ ...InputValue }} interfaces {{ ...TypeRef }}
         enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }}
         possibleTypes {{ ...TypeRef }} }}
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue isDeprecated
         deprecationReason }}
         fragment TypeRef on __Type {{ {of_type} }}"
    );
    assert_eq!(verdict(&document), Ok(OperationType::Query));
}

#[test]
fn circular_introspection_is_refused() {
    let document = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
    assert_eq!(code(document), TOO_LARGE);
}

#[test]
fn brackets_nested_1600_deep_are_refused_wherever_they_stand() {
    let lists = "[".repeat(1_600) + &"]".repeat(1_600);
    let objects = "{a:".repeat(1_600) + "1" + &"}".repeat(1_600);
    for value in [lists, objects] {
        for document in [
            format!("{{ a(b: {value}) }}"),
            format!("{{ a @skip(if: {value}) }}"),
            format!("query ($v: Int = {value}) {{ a }}"),
            format!("query @d(v: {value}) {{ a }}"),
            format!("{{ a(b: \"\"\"x\"\"\", c: {value}) }}"),
        ] {
            assert_eq!(code(&document), TOO_LARGE);
        }
    }
    assert_eq!(code(&("{a".repeat(1_600) + &"}".repeat(1_600))), TOO_LARGE);
    assert_eq!(
        code(&format!(
            "query ($v: {}Int{}) {{ a }}",
            "[".repeat(40),
            "]".repeat(40)
        )),
        TOO_LARGE
    );
}

#[test]
fn thirty_two_brackets_pass_and_thirty_three_do_not() {
    let nested = |lists: usize| format!("{{ a(b: {}{}) }}", "[".repeat(lists), "]".repeat(lists));
    assert_eq!(verdict(&nested(30)), Ok(OperationType::Query));
    assert_eq!(code(&nested(31)), TOO_LARGE);
}

#[test]
fn brackets_in_strings_and_comments_do_not_count() {
    let brackets = "[{(".repeat(100);
    assert_eq!(
        verdict(&format!("{{ a(b: \"{brackets} \\\" {brackets}\") }}")),
        Ok(OperationType::Query)
    );
    assert_eq!(
        verdict(&format!(
            "{{ a(b: \"\"\"{brackets} \\\"\"\" \" {brackets}\"\"\") }}"
        )),
        Ok(OperationType::Query)
    );
    assert_eq!(
        verdict(&format!("{{ a # {brackets} \"\n }}")),
        Ok(OperationType::Query)
    );
}

#[test]
fn strings_and_brackets_that_do_not_end_are_refused() {
    for document in [
        "{ a(b: \"x) }",
        "{ a(b: \"x\n\") }",
        "{ a(b: \"\"\"x\") }",
        "{ a",
        "{ a }}",
        "{ a(b: [}) ]",
        "\"\\",
    ] {
        assert_eq!(code(document), BAD_INPUT, "{document}");
    }
}

/// A scanner that takes `"""` for an open block string would not see the brackets that the parser sees.
#[test]
fn a_block_string_that_never_ends_hides_no_brackets() {
    let document = format!("{{ a(b: [\"\"\" x\" {}", "[".repeat(1_600));
    assert_eq!(code(&document), BAD_INPUT);
}

#[test]
fn fragments_that_multiply_are_refused() {
    for document in [fan_out(2, 22), fan_out(10, 7), fan_out(20, 6)] {
        assert_eq!(code(&document), TOO_LARGE);
    }
}

/// 2^60 fields in 61 fragments: a walk that met each field would not come to its end. What refusing costs is a figure
/// of `tests/benches`.
#[test]
fn fragments_that_multiply_are_measured_without_being_spread() {
    let document = fan_out(2, 60);
    let verdict = |fields: u64| {
        let limits = Limits {
            fields,
            nesting: 100,
            fragments: 100,
            ..Limits::default()
        };
        check(&mut Request::new(&document), &limits).map_err(|refusal| refusal.code)
    };
    assert_eq!(verdict(1 << 60), Ok(OperationType::Query));
    assert_eq!(verdict((1 << 60) - 1), Err(RefusalCode::QueryTooLarge));
}

#[test]
fn unused_fragments_and_unselected_operations_count() {
    let unused = fan_out(2, 22).replacen("{ ...F0 }", "{ a }", 1);
    assert_eq!(code(&unused), TOO_LARGE);
    let fields = "a ".repeat(600);
    let mut request =
        Request::new(format!("query A {{ {fields} }} query B {{ {fields} }}")).operation_name("A");
    let refusal = check(&mut request, &Limits::default()).expect_err("1,200 fields");
    assert_eq!(refusal.code, RefusalCode::QueryTooLarge);
}

#[test]
fn fragment_cycles_are_refused() {
    assert_eq!(
        code("{ ...A } fragment A on Q { b { ...B } } fragment B on Q { ...A }"),
        BAD_INPUT
    );
    assert_eq!(code("{ a } fragment A on Q { ...A }"), BAD_INPUT);
}

/// 50 fragments of 31 inline fragments each recurse 1,550 deep in the validators.
#[test]
fn chains_of_fragments_do_not_add_up_to_deep_recursion() {
    assert_eq!(code(&chain_of_fragments(40)), TOO_LARGE);
}

/// Fragments that spread the next one each, ten inline fragments deep.
fn chain_of_fragments(length: usize) -> String {
    let mut document = String::from("{ ...F0 }");
    for level in 0..length {
        let (open, close) = ("... { ".repeat(10), " }".repeat(10));
        let _ = write!(
            document,
            "fragment F{level} on Q {{ {open} ...F{} {close} }}",
            level + 1
        );
    }
    let _ = write!(document, "fragment F{length} on Q {{ a }}");
    document
}

#[test]
fn twenty_thousand_typenames_are_refused_by_length_and_1001_by_count() {
    assert_eq!(
        code(&format!("{{ {} }}", "__typename ".repeat(20_000))),
        TOO_LARGE
    );
    assert_eq!(code(&format!("{{ {} }}", "__typename ".repeat(1_001))), TOO_LARGE);
    assert_eq!(
        verdict(&format!("{{ {} }}", "__typename ".repeat(1_000))),
        Ok(OperationType::Query)
    );
}

#[test]
fn each_count_has_its_bound() {
    let aliases = |count: usize| (0..count).fold(String::new(), |text, n| text + &format!("x{n}: a "));
    assert_eq!(
        verdict(&format!("{{ {} }}", aliases(10))),
        Ok(OperationType::Query)
    );
    assert_eq!(code(&format!("{{ {} }}", aliases(11))), TOO_LARGE);
    assert_eq!(
        verdict(&format!("mutation {{ {} }}", "a ".repeat(10))),
        Ok(OperationType::Mutation)
    );
    assert_eq!(code(&format!("mutation {{ {} }}", "a ".repeat(11))), TOO_LARGE);
    assert_eq!(
        code("mutation { ...F ...F } fragment F on M { a b c d e f }"),
        TOO_LARGE
    );
    assert_eq!(
        verdict(&format!("{{ a {} }}", "@d ".repeat(20))),
        Ok(OperationType::Query)
    );
    assert_eq!(code(&format!("{{ a {} }}", "@d ".repeat(21))), TOO_LARGE);
    assert_eq!(
        verdict(&("{a".repeat(16) + &"}".repeat(16))),
        Ok(OperationType::Query)
    );
    assert_eq!(code(&("{a".repeat(17) + &"}".repeat(17))), TOO_LARGE);
}

#[test]
fn exactly_one_operation_is_selected() {
    let two = "query A { a } mutation B { b }";
    assert_eq!(code(two), BAD_INPUT);
    let named = |name: &str| check(&mut Request::new(two).operation_name(name), &Limits::default());
    assert_eq!(named("B"), Ok(OperationType::Mutation));
    assert_eq!(named("C").expect_err("no C").code, RefusalCode::BadUserInput);
    let anonymous = check(&mut Request::new("{ a }").operation_name("A"), &Limits::default());
    assert!(anonymous.expect_err("no A").message.contains("'A'"));
}

#[test]
fn escaped_surrogate_pairs_are_one_character_and_halves_are_refused() {
    let read = |document: &str| {
        let mut request = Request::new(document);
        check(&mut request, &Limits::default()).map(|_| request.query.clone())
    };
    let joined = read(
        r#"{ a(b: "x\\uD83D\uD83D\uDE00\"\u00e9\uD83D\uDE00", c: """\uD83D \""" x""") # "\uD83D
        d(e: "") }"#,
    );
    let expected = r#"{ a(b: "x\\uD83D😀\"\u00e9😀", c: """\uD83D \""" x""") # "\uD83D
        d(e: "") }"#;
    assert_eq!(joined.expect("valid"), expected);
    for half in [
        r"\uD83D",
        r"\uDE00",
        r"\uDE00\uD83D",
        r"\uD83Dx",
        r"\uD83D\u0041",
        r"\uD83D\n",
    ] {
        let refusal = read(&format!("{{ a(b: \"{half}\") }}")).expect_err("half a pair");
        assert_eq!(refusal.code, RefusalCode::BadUserInput, "{half}");
    }
}

#[test]
fn variables_may_be_nested_thirty_two_deep() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(check_variables(&nested(32), &Limits::default()), Ok(()));
    let refusal = check_variables(&nested(34), &Limits::default()).expect_err("34 deep");
    assert_eq!(
        refusal.message,
        "the variables are nested 34 deep; at most 32 are allowed"
    );
    let refusal = check_variables(&nested(33), &Limits::default()).expect_err("33 deep");
    assert_eq!(refusal.code, RefusalCode::QueryTooLarge);
    assert_eq!(check_variables(&Value::Null, &Limits::default()), Ok(()));
}

/// Texts made of what matters to a scanner: brackets, quotes, escapes, comments, names.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            "\"",
            "\"\"\"",
            "\\",
            "\\\"\"\"",
            "#",
            "\n",
            "a",
            ":",
            "...",
            "on ",
            "$",
            "@",
            "query ",
            "fragment ",
            " ",
            "1",
            "é",
            "\u{feff}",
            "[[[[[[[[[[[[[[[[",
            "{a:{a:{a:{a:",
        ])
        .prop_map(String::from),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_guard_never_panics_and_what_passes_parses_on_a_small_stack(
        texts in prop::collection::vec(prop_oneof![hostile_text(), any::<String>()], 1..20),
    ) {
        let parsing = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
            for text in texts {
                if check_source(&text, &Limits::default()).is_ok() {
                    // Refused or not, it must come back: an overflow would end the process.
                    let parsed = parse_query(&text).is_ok();
                    let checked = check(&mut Request::new(text.as_str()), &Limits::default());
                    assert!(parsed || checked.is_err());
                }
            }
        });
        prop_assert!(parsing.expect("a thread").join().is_ok());
    }
}
