//! What chat templates can do, and what they cannot.

use super::*;
use crate::failure::FailureCode;

fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.to_owned(),
        content: content.to_owned(),
    }
}

fn template(source: &str) -> Template {
    let special = BTreeMap::from([("eos_token", "</s>".to_owned())]);
    Template::new("test", source, special, vec!["</s>".to_owned()]).expect("a template")
}

fn rendered(source: &str, content: &str) -> String {
    let rendered = template(source).render(&[message("user", content)], true);
    rendered.expect("rendered").text
}

fn fault(source: &str) -> String {
    match template(source).render(&[message("user", "hi")], false) {
        Err(RenderError::Template(failure)) => {
            assert_eq!(failure.code, FailureCode::ChatTemplateInvalid);
            assert!(failure.message.contains("template test"), "{failure}");
            failure.message
        }
        other => panic!("not at fault: {other:?}"),
    }
}

#[test]
fn endless_templates_and_endless_output_end_in_an_error() {
    let long = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}";
    assert!(fault(long).contains("instructions"));
    let huge = "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}";
    assert!(fault(huge).contains("bytes"));
    let deep = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(fault(deep).contains("recursion"));
}

#[test]
fn templates_reach_no_files_and_no_other_templates() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ undefined_function() }}",
    ] {
        match Template::new("test", source, BTreeMap::new(), Vec::new()) {
            Err(failure) => assert_eq!(failure.code, FailureCode::ChatTemplateInvalid),
            Ok(template) => match template.render(&[message("user", "hi")], false) {
                Err(RenderError::Template(_)) => {}
                other => panic!("{source}: {other:?}"),
            },
        }
    }
}

#[test]
fn what_is_no_jinja_is_refused_with_its_place() {
    let failure = Template::new("broken", "a\n{% if %}", BTreeMap::new(), Vec::new()).expect_err("refused");
    assert!(
        failure.message.contains("broken") && failure.message.contains("chat:2"),
        "{failure}"
    );
}

#[test]
fn a_template_refuses_a_conversation_in_its_own_words() {
    let source = "{{ raise_exception('Conversation roles must alternate') }}";
    let refused = template(source).render(&[message("user", "hi")], false);
    assert_eq!(
        refused,
        Err(RenderError::Conversation(
            "the chat template test says: Conversation roles must alternate".to_owned()
        ))
    );
}

#[test]
fn json_is_written_as_python_writes_it() {
    let source = "{{ {'a': [1, 'é<b>'], 'c': none} | tojson }}";
    assert_eq!(rendered(source, ""), r#"{"a": [1, "é<b>"], "c": null}"#);
    let indented = "{{ {'a': [1]} | tojson(indent=2) }}";
    assert_eq!(rendered(indented, ""), "{\n  \"a\": [\n    1\n  ]\n}");
}

#[test]
fn the_clock_stands_still() {
    assert_eq!(rendered("{{ strftime_now('%d %b %Y') }}", ""), "26 Jul 2024");
    assert!(fault("{{ strftime_now('%') }}").contains("strftime_now"));
}

#[test]
fn special_tokens_that_somebody_says_are_told_apart_from_those_of_the_template() {
    let source = "{% for m in messages %}{{ m.content | trim }}{{ eos_token }}{% endfor %}";
    let rendered = template(source)
        .render(&[message("user", " x</s> ")], false)
        .expect("rendered");
    assert_eq!(rendered.text, "x</s></s>");
    assert_eq!(rendered.literal, vec![std::ops::Range { start: 1, end: 5 }]);
}
