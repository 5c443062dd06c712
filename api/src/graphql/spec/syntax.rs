//! Documents that are not GraphQL, in a sentence.
//!
//! One rule: the parser's own text lists the rules of its grammar and draws the source; clients get what stands
//! where it stopped, and the line and column of that.

use async_graphql::parser::{Error, parse_query};
use async_graphql::{Pos, ServerError};

use super::refusal;
use super::wording::cut;

/// The error of a document that the parser has refused.
#[must_use]
pub fn error(source: &str) -> ServerError {
    match parse_query(source) {
        Ok(_) => refusal("Syntax error: the document is not GraphQL.", Pos::default()),
        Err(Error::Syntax { start, .. }) => {
            let (found, at) = found(source, start);
            let Pos { line, column } = at;
            refusal(
                format!("Syntax error: unexpected {found} at line {line}, column {column}."),
                at,
            )
        }
        Err(other) => {
            let mut error = refusal(sentence(&other), Pos::default());
            error.locations = other.positions().collect();
            error
        }
    }
}

/// What is wrong with a document whose parts can be read.
fn sentence(error: &Error) -> String {
    match error {
        Error::MultipleOperations { .. } => {
            "This anonymous operation must be the only defined operation.".to_owned()
        }
        Error::OperationDuplicated { operation, .. } => {
            format!("There can be only one operation named \"{}\".", cut(operation))
        }
        Error::FragmentDuplicated { fragment, .. } => {
            format!("There can be only one fragment named \"{}\".", cut(fragment))
        }
        Error::MissingOperation => "The document has no operation.".to_owned(),
        Error::RecursionLimitExceeded => "The document is nested too deep.".to_owned(),
        other => format!("{other}."),
    }
}

/// The token at a place or behind the blanks there, as it is named in a sentence, and where it stands.
fn found(source: &str, start: Pos) -> (String, Pos) {
    let mut at = start;
    let line = source
        .split_inclusive('\n')
        .nth(at.line.saturating_sub(1))
        .unwrap_or_default();
    let before: usize = line
        .chars()
        .take(at.column.saturating_sub(1))
        .map(char::len_utf8)
        .sum();
    let lines = source.split_inclusive('\n').take(at.line.saturating_sub(1));
    let offset = lines.map(str::len).sum::<usize>() + before;
    let mut rest = source.get(offset..).unwrap_or_default().chars().peekable();
    let mut in_comment = false;
    while let Some(next) = rest.next_if(|next| in_comment || is_blank(*next) || *next == '#') {
        in_comment = (in_comment || next == '#') && !matches!(next, '\n' | '\r');
        at.column += 1;
        if next == '\n' {
            at = Pos {
                line: at.line + 1,
                column: 1,
            };
        }
    }
    (token(&rest.collect::<String>()), at)
}

fn is_blank(character: char) -> bool {
    character.is_ascii_whitespace() || matches!(character, ',' | '\u{feff}')
}

/// The first token of a text, as it is named in a sentence.
fn token(text: &str) -> String {
    let Some(first) = text.chars().next() else {
        return "end of the document".to_owned();
    };
    let of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    match first {
        '"' => "string".to_owned(),
        '.' if text.starts_with("...") => "\"...\"".to_owned(),
        first if of_name(first) => {
            let name: String = text.chars().take_while(|character| of_name(*character)).collect();
            format!("\"{}\"", cut(&name))
        }
        first if first.is_control() => format!("character U+{:04X}", u32::from(first)),
        first => format!("\"{first}\""),
    }
}
