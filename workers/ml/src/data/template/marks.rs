//! Marks in rendered text: what the assistant generates, and what comes from outside.
//!
//! Rule: marks are four characters of a private-use area that are taken out of messages before rendering, so
//! that none can be forged, and out of the text after it.

use std::ops::Range;

/// The filter that `{% generation %}` is turned into.
pub(super) const FILTER: &str = "anneal_generated";

const GENERATED: char = '\u{F8F0}';
const GENERATED_END: char = '\u{F8F1}';
const LITERAL: char = '\u{F8F2}';
const LITERAL_END: char = '\u{F8F3}';

fn is_mark(letter: char) -> bool {
    (GENERATED..=LITERAL_END).contains(&letter)
}

/// What a template has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text without marks.
    pub text: String,
    /// Bytes of it that the template says the assistant generates, in order.
    pub generated: Vec<Range<usize>>,
    /// Bytes of it that look like special tokens but were said by somebody, in order.
    pub literal: Vec<Range<usize>>,
}

/// `source` with its `{% generation %}` blocks turned into blocks that mark, and whether it has any. A filter's
/// block treats the space around it as the original does.
pub(super) fn with_generation_marked(source: &str) -> (String, bool) {
    let (mut result, mut rest, mut found) = (String::new(), source, false);
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let tag = &rest[start + 2..start + length];
        let inner = tag.trim_matches(|letter: char| "+-".contains(letter) || letter.is_whitespace());
        let replacement = match inner {
            "generation" => Some(format!("filter {FILTER}")),
            "endgeneration" => Some("endfilter".to_owned()),
            _ => None,
        };
        result.push_str(&rest[..start]);
        match replacement {
            Some(word) => {
                found = true;
                result.push_str(&format!("{{%{}%}}", tag.replacen(inner, &format!(" {word} "), 1)));
            }
            None => result.push_str(&rest[start..start + length + 2]),
        }
        rest = &rest[start + length + 2..];
    }
    result.push_str(rest);
    (result, found)
}

/// The filter: `text` between marks.
pub(super) fn generated(text: &str) -> String {
    format!("{GENERATED}{text}{GENERATED_END}")
}

/// Marks special tokens in what is said.
#[derive(Debug)]
pub(super) struct Marks {
    /// Longest first, so that a token takes precedence over one that it contains.
    tokens: Vec<String>,
    /// The letters that they begin with.
    beginnings: Vec<char>,
}

impl Marks {
    pub(super) fn new(mut tokens: Vec<String>) -> Self {
        tokens.retain(|token| !token.is_empty());
        tokens.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
        let mut beginnings: Vec<char> = tokens.iter().filter_map(|token| token.chars().next()).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        Self { tokens, beginnings }
    }

    /// `said` with each special token in it marked as letters.
    pub(super) fn guarded(&self, said: &str) -> String {
        let said: String = said.chars().filter(|letter| !is_mark(*letter)).collect();
        let mut guarded = String::with_capacity(said.len());
        let mut rest = said.as_str();
        while let Some(letter) = rest.chars().next() {
            let may_begin = self.beginnings.contains(&letter);
            let mut candidates = self.tokens.iter().filter(|_| may_begin);
            match candidates.find(|token| rest.starts_with(token.as_str())) {
                Some(token) => {
                    guarded.push(LITERAL);
                    guarded.push_str(token);
                    guarded.push(LITERAL_END);
                    rest = &rest[token.len()..];
                }
                None => {
                    guarded.push(letter);
                    rest = &rest[letter.len_utf8()..];
                }
            }
        }
        guarded
    }
}

/// Takes the marks out of `marked`. A literal that a template has torn apart is still kept apart from its
/// surroundings as far as its marks go.
pub(super) fn read(marked: &str) -> Rendered {
    let mut rendered = Rendered::default();
    let (mut generated, mut literal) = (None, None);
    for letter in marked.chars() {
        let here = rendered.text.len();
        match letter {
            GENERATED => generated = Some(here),
            GENERATED_END => {
                if let Some(start) = generated.take() {
                    rendered.generated.push(start..here);
                }
            }
            LITERAL => literal = Some(here),
            LITERAL_END => {
                if let Some(start) = literal.take() {
                    rendered.literal.push(start..here);
                }
            }
            letter => rendered.text.push(letter),
        }
    }
    if let Some(start) = literal {
        rendered.literal.push(start..rendered.text.len());
    }
    rendered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_generation_keep_their_control_of_space() {
        let (source, found) =
            with_generation_marked("{% if x %}{%- generation -%}a{%endgeneration%}{% endif %} {%");
        assert!(found);
        assert_eq!(
            source,
            "{% if x %}{%-  filter anneal_generated  -%}a{% endfilter %}{% endif %} {%"
        );
        assert_eq!(
            with_generation_marked("{{ generation }}"),
            ("{{ generation }}".to_owned(), false)
        );
    }

    #[test]
    fn what_is_said_can_forge_neither_tokens_nor_marks() {
        let marks = Marks::new(vec!["<|end|>".to_owned(), "<|end|>x".to_owned()]);
        let rendered = read(&format!(
            "a{}",
            marks.guarded("b<|end|>x\u{F8F3}c<|end|>\u{F8F0}")
        ));
        assert_eq!(rendered.text, "ab<|end|>xc<|end|>");
        assert_eq!(rendered.literal, [2..10, 11..18]);
        assert!(rendered.generated.is_empty());
    }
}
