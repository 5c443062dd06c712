//! Escaped code points beyond U+FFFF, which the library's parser does not read.
//!
//! One rule: a pair of escapes becomes the character it means, and half a pair is refused: no text has it.

use std::borrow::Cow;

use super::Refusal;

/// The document with each escaped surrogate pair in its strings written as one character.
///
/// The brackets and strings of `source` have been found to match. Block strings know no escapes.
pub(super) fn join(source: &str) -> Result<Cow<'_, str>, Refusal> {
    if !source.contains("\\u") {
        return Ok(Cow::Borrowed(source));
    }
    let mut joined = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.find(['"', '#']) {
        joined.push_str(&rest[..next]);
        rest = &rest[next..];
        let length = if rest.starts_with('#') {
            rest.find(['\n', '\r']).unwrap_or(rest.len())
        } else if rest.starts_with("\"\"\"") {
            block_length(rest)
        } else {
            rest = string(rest, &mut joined)?;
            continue;
        };
        joined.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    joined.push_str(rest);
    Ok(Cow::Owned(joined))
}

/// The length of the block string at the start of a text.
fn block_length(text: &str) -> usize {
    let mut at = 3;
    while let Some(quotes) = text[at..].find("\"\"\"") {
        let end = at + quotes + 3;
        if !text[..at + quotes].ends_with('\\') {
            return end;
        }
        at = end;
    }
    text.len()
}

/// Copies the string at the start of a text and gives what comes behind it.
fn string<'a>(text: &'a str, joined: &mut String) -> Result<&'a str, Refusal> {
    joined.push('"');
    let mut rest = &text[1..];
    while let Some(next) = rest.find(['"', '\\']) {
        joined.push_str(&rest[..next]);
        rest = &rest[next..];
        if let Some(behind) = rest.strip_prefix('"') {
            joined.push('"');
            return Ok(behind);
        }
        rest = escape(rest, joined)?;
    }
    joined.push_str(rest);
    Ok("")
}

/// Copies the escape at the start of a text, or the character that it and the next one mean.
fn escape<'a>(text: &'a str, joined: &mut String) -> Result<&'a str, Refusal> {
    let unit = unit(text);
    if let Some(high @ 0xD800..=0xDBFF) = unit
        && let Some(low @ 0xDC00..=0xDFFF) = self::unit(&text[6..])
        && let Some(character) = char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    {
        joined.push(character);
        return Ok(&text[12..]);
    }
    if let Some(0xD800..=0xDFFF) = unit {
        return Err(Refusal::bad_input(
            "the document has a string with half of a surrogate pair",
        ));
    }
    let length = text.char_indices().nth(2).map_or(text.len(), |(at, _)| at);
    joined.push_str(&text[..length]);
    Ok(&text[length..])
}

/// The code unit that an escape of the form `\u1234` at the start of a text stands for.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u32::from_str_radix(digits, 16).ok())?
}
