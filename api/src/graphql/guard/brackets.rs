//! The depth of brackets in a text that nobody has parsed yet.
//!
//! One rule: wherever this pass and the parser could disagree on what is a string, the text is refused.
//! Otherwise brackets could hide from the one and not from the other: `""" x" [[[[` is an open block
//! string to a scanner and two short strings with nested lists to a parser that backtracks.

use super::Refusal;

/// Refuses texts with more than `limit` open brackets, with brackets that do not match and with strings
/// that do not end. One pass over the bytes, one byte of memory for each open bracket.
pub(super) fn check(source: &str, limit: usize) -> Result<(), Refusal> {
    let bytes = source.as_bytes();
    let mut open = Vec::with_capacity(limit.min(64));
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'#' => at = end_of_line(bytes, at),
            b'"' => at = end_of_string(bytes, at)?,
            b'(' | b'[' | b'{' => {
                if open.len() == limit {
                    let depth = deepest(bytes, at, limit + 1);
                    return Err(Refusal::too_large(format!(
                        "brackets are nested {depth} deep; at most {limit} are allowed"
                    )));
                }
                open.push(byte);
            }
            b')' | b']' | b'}' if open.pop() != Some(opener(byte)) => {
                return Err(Refusal::bad_input(
                    "the document has a closing bracket without its opening one",
                ));
            }
            _ => {}
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(Refusal::bad_input(
            "the document has a bracket that is never closed",
        ))
    }
}

/// The most brackets that are open at one place, from a place with `open` of them up to the end, or to a string
/// that does not end.
fn deepest(bytes: &[u8], from: usize, open: usize) -> usize {
    let (mut at, mut open, mut most) = (from, open, open);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'#' => at = end_of_line(bytes, at),
            b'"' => match end_of_string(bytes, at) {
                Ok(end) => at = end,
                Err(_) => break,
            },
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn opener(closer: u8) -> u8 {
    match closer {
        b')' => b'(',
        b']' => b'[',
        _ => b'{',
    }
}

/// The end of a comment: the next line terminator, or the end of the text.
fn end_of_line(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .map_or(bytes.len(), |length| from + length)
}

/// The place behind the string whose first quote stands right before `from`.
fn end_of_string(bytes: &[u8], from: usize) -> Result<usize, Refusal> {
    let rest = &bytes[from..];
    if rest.starts_with(br#""""#) {
        return end_of_block_string(bytes, from + 2);
    }
    let mut at = from;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            None | Some(b'\n' | b'\r') => {
                return Err(Refusal::bad_input(
                    "the document has a string without its closing quote",
                ));
            }
            Some(_) => at += 1,
        }
    }
}

/// The place behind the block string whose content starts at `from`; `\"""` inside does not end it.
fn end_of_block_string(bytes: &[u8], from: usize) -> Result<usize, Refusal> {
    let mut at = from;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(br#"\""""#) {
            at += 4;
        } else if rest.starts_with(br#"""""#) {
            return Ok(at + 3);
        } else {
            at += 1;
        }
    }
    Err(Refusal::bad_input(
        "the document has a block string without its closing quotes",
    ))
}
