//! Proofs of DS-1 and DS-2 as far as lines go.

use proptest::prelude::*;

use super::{Format, Limits, ProblemCode, Report, Summary, Validator};

const GOOD: &str =
    r#"{"messages":[{"role":"user","content":"Who?"},{"role":"assistant","content":"Alice."}]}"#;

fn check(format: Format, bytes: &[u8]) -> Result<Summary, Report> {
    check_in_chunks(format, bytes, bytes.len().max(1))
}

fn check_in_chunks(format: Format, bytes: &[u8], size: usize) -> Result<Summary, Report> {
    let limits = Limits {
        line_bytes: 4096,
        ..Limits::default()
    };
    let mut validator = Validator::new(format, limits);
    bytes.chunks(size).for_each(|chunk| validator.feed(chunk));
    validator.finish()
}

/// The code of the only problem, which is in line 1.
fn refusal(format: Format, bytes: &[u8]) -> ProblemCode {
    let report = check(format, bytes).expect_err("a problem");
    assert_eq!(
        (report.total, report.problems[0].line),
        (1, Some(1)),
        "{report:?}"
    );
    report.problems[0].code
}

fn chat(messages: &str) -> ProblemCode {
    refusal(Format::Chat, format!("{{\"messages\":{messages}}}\n").as_bytes())
}

/// DS-2
#[test]
fn a_chat_is_counted_and_previewed() {
    let text = format!("{GOOD}\r\n\n{}", GOOD.replace("{\"m", "{\"id\":7,\"m"));
    let summary = check(Format::Chat, text.as_bytes()).expect("good");
    assert_eq!((summary.samples, summary.lines), (2, 3));
    assert_eq!(summary.bytes, text.len() as u64);
    assert_eq!(summary.characters, 20);
    assert_eq!(summary.token_estimate, 5);
    assert_eq!(summary.samples_with_other_keys, 1);
    assert_eq!(summary.preview, ["user: Who?\nassistant: Alice."; 2]);
}

/// DS-2
#[test]
fn a_text_with_blank_lines_is_counted_in_paragraphs_and_one_without_in_lines() {
    let paragraphs = check(Format::PlainText, "one\ntwo\n\n\u{e9}\n".as_bytes()).expect("good");
    assert_eq!(
        (paragraphs.samples, paragraphs.characters, paragraphs.bytes),
        (2, 7, 12)
    );
    assert_eq!(paragraphs.preview, ["one\ntwo", "\u{e9}"]);
    let lines = check(Format::PlainText, b"\none\ntwo\nthree\nfour").expect("good");
    assert_eq!((lines.samples, lines.lines), (4, 5));
    assert_eq!(lines.preview, ["one", "two", "three"]);
}

#[test]
fn a_preview_is_cut_to_its_characters() {
    let summary = check(Format::PlainText, "\u{e4}".repeat(500).as_bytes()).expect("good");
    assert_eq!(summary.preview[0].chars().count(), 200);
}

/// DS-1
#[test]
fn every_kind_of_bad_chat_line_has_its_reason() {
    assert_eq!(refusal(Format::Chat, b"{\"messages\":"), ProblemCode::InvalidJson);
    assert_eq!(refusal(Format::Chat, b"[1]"), ProblemCode::NotAnObject);
    assert_eq!(refusal(Format::Chat, b"{\"text\":\"a\"}"), ProblemCode::Messages);
    assert_eq!(chat("[]"), ProblemCode::Messages);
    assert_eq!(chat("{}"), ProblemCode::Messages);
    assert_eq!(chat("[3]"), ProblemCode::Message);
    assert_eq!(chat(r#"[{"role":"user"}]"#), ProblemCode::Message);
    assert_eq!(chat(r#"[{"role":"user","content":null}]"#), ProblemCode::Message);
    assert_eq!(chat(r#"[{"role":"tool","content":"x"}]"#), ProblemCode::Role);
    assert_eq!(
        chat(r#"[{"role":"user","content":"  "}]"#),
        ProblemCode::EmptyContent
    );
    assert_eq!(chat(r#"[{"role":"user","content":"a\u0000"}]"#), ProblemCode::Nul);
}

/// DS-1
#[test]
fn roles_must_come_in_an_order_that_can_be_learnt() {
    let turns = |roles: &[&str]| {
        let messages: Vec<_> = roles
            .iter()
            .map(|r| format!(r#"{{"role":"{r}","content":"x"}}"#))
            .collect();
        format!("{{\"messages\":[{}]}}", messages.join(","))
    };
    for roles in [
        &["user"][..],
        &["assistant"],
        &["user", "assistant", "user"],
        &["assistant", "user", "assistant"],
        &["user", "system", "assistant"],
        &["system"],
    ] {
        assert_eq!(
            refusal(Format::Chat, turns(roles).as_bytes()),
            ProblemCode::RoleOrder,
            "{roles:?}"
        );
    }
    for roles in [
        &["user", "assistant"][..],
        &["system", "user", "user", "assistant", "user", "assistant"],
    ] {
        check(Format::Chat, turns(roles).as_bytes()).expect("good");
    }
}

/// DS-1: wrong encodings are named with line and byte.
#[test]
fn wrong_encodings_are_named() {
    let report = check(Format::PlainText, b"fine\ncaf\xe9 au lait\n").expect_err("Latin-1");
    assert_eq!(report.problems[0].line, Some(2));
    assert_eq!(report.problems[0].code, ProblemCode::InvalidUtf8);
    assert!(
        report.problems[0]
            .message
            .contains("byte 4 of the line (byte 9 of the file)"),
        "{report}"
    );
    assert_eq!(
        refusal(Format::PlainText, b"\xff\xfea\0\n\0b\0\n\0"),
        ProblemCode::Utf16
    );
    assert_eq!(refusal(Format::PlainText, b"\xfe\xff\0a"), ProblemCode::Utf16);
    assert_eq!(refusal(Format::PlainText, b"a\0b"), ProblemCode::Nul);
}

#[test]
fn a_utf8_mark_is_passed_over() {
    let marked = format!("\u{feff}{GOOD}\n");
    assert_eq!(
        check(Format::Chat, marked.as_bytes()).expect("good").bytes,
        marked.len() as u64
    );
}

/// DS-1: the first hundred with numbers, then a count.
#[test]
fn problems_beyond_the_first_hundred_are_counted() {
    let text = format!("{GOOD}\n") + &"oops\n".repeat(250);
    let report = check(Format::Chat, text.as_bytes()).expect_err("bad lines");
    assert_eq!(
        (
            report.problems.len(),
            report.total,
            report.unlisted(),
            report.lines
        ),
        (100, 250, 150, 251)
    );
    assert_eq!(report.problems[99].line, Some(101));
    assert!(
        report.to_string().starts_with("250 of 251 lines cannot be used"),
        "{report}"
    );
}

/// DS-1
#[test]
fn no_samples_is_an_error() {
    for (format, bytes) in [
        (Format::Chat, &b""[..]),
        (Format::Chat, b"\n\r\n"),
        (Format::PlainText, b" \n\t\n"),
    ] {
        let report = check(format, bytes).expect_err("nothing in it");
        assert_eq!(
            (report.problems[0].code, report.problems[0].line),
            (ProblemCode::NoSamples, None)
        );
    }
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    check(Format::PlainText, &[b'a'; 4096]).expect("as long as allowed");
    check(Format::PlainText, &[&[b'a'; 4096][..], b"\r\n"].concat()).expect("its end does not count");
    assert_eq!(
        refusal(Format::PlainText, &[b'a'; 4097]),
        ProblemCode::LineTooLong
    );
    assert_eq!(
        refusal(Format::PlainText, &vec![b'a'; 1 << 20]),
        ProblemCode::LineTooLong
    );
}

#[test]
fn formats_are_told_by_name_and_content() {
    let is = |name, head: &str| Format::detect(name, head.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(is("a.JSONL.gz", ""), Ok(Format::Chat));
    assert_eq!(is("a.txt.zst", "{"), Ok(Format::PlainText));
    assert_eq!(is("upload", "\u{feff}\n {\"messages\""), Ok(Format::Chat));
    assert_eq!(is("", "Alice"), Ok(Format::PlainText));
    assert!(is("a.csv", "x,y").expect_err("not yet").contains("a .csv file"));
    assert!(is("a.json", "[{}]").expect_err("an array").contains("JSON array"));
    assert!(
        is("a.txt", "PK\u{3}\u{4}")
            .expect_err("an archive")
            .contains("ZIP")
    );
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
        assert_eq!(serde_json::to_value(format).expect("a name"), format.name());
    }
}

#[test]
fn codes_are_spelt_alike_everywhere() {
    for code in [
        ProblemCode::InvalidUtf8,
        ProblemCode::Utf16,
        ProblemCode::NotAnObject,
        ProblemCode::NoSamples,
    ] {
        assert_eq!(serde_json::to_value(code).expect("a name"), code.name());
    }
}

/// Bytes that often come close to being a dataset.
fn almost_datasets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(GOOD.as_bytes().to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        Just(b"\xff\xfe".to_vec()),
        Just(b"[".repeat(5000)),
        Just("\u{1f600} text".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// DS-1: whatever comes in, and however it is cut, the answer is the same and no panic.
    #[test]
    fn how_a_stream_is_cut_changes_nothing(bytes in almost_datasets(), size in 1_usize..64) {
        for format in Format::ALL {
            let whole = check(format, &bytes);
            prop_assert_eq!(&check_in_chunks(format, &bytes, size), &whole);
            match whole {
                Ok(summary) => prop_assert_eq!(summary.bytes, bytes.len() as u64),
                Err(report) => prop_assert!(report.total > 0 && !report.problems.is_empty()),
            }
        }
    }

    #[test]
    fn detection_takes_any_bytes(name in ".*", head in proptest::collection::vec(any::<u8>(), 0..100)) {
        let found = Format::detect(&name, &head);
        prop_assert!(found.is_ok() || !found.expect_err("the other case").to_string().is_empty());
    }
}
