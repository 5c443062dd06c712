//! What a refusal says.

use super::super::RefusalCode;
use super::{chain_of_fragments, verdict};

#[test]
fn a_syntax_error_is_a_sentence_with_its_place() {
    for (document, wanted, at) in [
        (
            "{ a(b: ) }",
            "Syntax error: unexpected \")\" at line 1, column 8.",
            (1, 8),
        ),
        (
            "type X { a: Int }",
            "Syntax error: unexpected \"type\" at line 1, column 1.",
            (1, 1),
        ),
        (
            "",
            "Syntax error: unexpected end of the document at line 1, column 1.",
            (1, 1),
        ),
        (
            "query ($x: ) { a }",
            "Syntax error: unexpected \")\" at line 1, column 12.",
            (1, 12),
        ),
        (
            "{\n  a # b\n  é }",
            "Syntax error: unexpected \"é\" at line 3, column 3.",
            (3, 3),
        ),
        (
            "{ a } \"x\"",
            "Syntax error: unexpected string at line 1, column 7.",
            (1, 7),
        ),
        (
            "{ a @ }",
            "Syntax error: unexpected \"}\" at line 1, column 7.",
            (1, 7),
        ),
        (
            "{ a b: ... }",
            "Syntax error: unexpected \"...\" at line 1, column 8.",
            (1, 8),
        ),
        (
            "query A { a } query A { b }",
            "There can be only one operation named \"A\".",
            (1, 15),
        ),
        (
            "{ a } { b }",
            "This anonymous operation must be the only defined operation.",
            (1, 7),
        ),
    ] {
        let refusal = verdict(document).expect_err(document);
        assert_eq!(refusal.code, RefusalCode::BadUserInput, "{document}");
        assert_eq!(refusal.message, wanted, "{document}");
        let place = refusal.location.map(|at| (at.line, at.column));
        assert_eq!(place, Some(at), "{document}");
    }
    let none = verdict("fragment F on Q { a }").expect_err("no operation");
    assert_eq!(none.message, "The document has no operation.");
}

#[test]
fn each_refusal_says_what_was_measured_and_the_bound() {
    let fragments = (0..51).fold("{ a }".to_owned(), |text, n| {
        text + &format!(" fragment F{n} on Q {{ a }}")
    });
    let operations = (0..11).fold(String::new(), |text, n| text + &format!(" query Q{n} {{ a }}"));
    let aliases = (0..13).fold(String::new(), |text, n| text + &format!("x{n}: a "));
    for (document, wanted) in [
        (
            format!("{{ {} }}", "a ".repeat(1_007)),
            "the document has 1007 fields, fragments spread; at most 1000 are allowed",
        ),
        (
            "{a".repeat(18) + &"}".repeat(18),
            "the document has 18 levels of fields, fragments spread; at most 16 are allowed",
        ),
        (
            format!("{{ {aliases} }}"),
            "the document has 13 aliases, fragments spread; at most 10 are allowed",
        ),
        (
            format!("mutation {{ {} }}", "a ".repeat(12)),
            "the document has 12 root fields in a mutation, fragments spread; at most 10 are allowed",
        ),
        (
            format!("{{ a {} }}", "@d ".repeat(22)),
            "the document has 22 directives, fragments spread; at most 20 are allowed",
        ),
        (fragments, "the document has 51 fragments; at most 50 are allowed"),
        (
            operations,
            "the document has 11 operations; at most 10 are allowed",
        ),
        (
            "{a".repeat(40) + &"}".repeat(40),
            "brackets are nested 40 deep; at most 32 are allowed",
        ),
        (
            " ".repeat(17_000),
            "the document has 17000 bytes; at most 16384 are allowed",
        ),
        (
            chain_of_fragments(4),
            "selections are nested at least 33 deep, fragments spread; at most 32 are allowed",
        ),
    ] {
        let refusal = verdict(&document).expect_err(wanted);
        assert_eq!(refusal.message, wanted);
        assert_eq!(refusal.code, RefusalCode::QueryTooLarge);
    }
}
