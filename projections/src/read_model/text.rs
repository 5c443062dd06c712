//! Texts as PostgreSQL holds them.
//!
//! One rule: `text` and `jsonb` cannot hold the character NUL. Read models show the replacement character instead; the log
//! keeps what was recorded.

use std::borrow::Cow;

use serde::Serialize;

/// JSON in which NUL, which it writes as `\\u0000`, is the replacement character.
pub(crate) fn without_nul(json: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return Cow::Borrowed(json);
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find(NUL) {
        let (before, after) = rest.split_at(at);
        // An odd number of backslashes before makes this one a literal backslash.
        let escaped = before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        clean.push_str(before);
        clean.push_str(if escaped { NUL } else { "\\ufffd" });
        rest = &after[NUL.len()..];
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// A key, or another text, as it comes back from the database; see [`without_nul`].
pub(crate) fn as_stored(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// The one text as which serde writes `value`; `None` when it writes something else.
pub(super) fn variant(value: &impl Serialize) -> Option<Cow<'static, str>> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => Some(Cow::Owned(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{as_stored, without_nul};

    #[test]
    fn only_a_real_nul_is_replaced() {
        let text = "a\u{0}b\\u0000c".to_owned();
        let json = serde_json::to_string(&text).expect("text is JSON");
        let back: String = serde_json::from_str(&without_nul(&json)).expect("still JSON");
        assert_eq!(back, "a\u{fffd}b\\u0000c");
    }

    #[test]
    fn a_key_is_what_its_column_holds() {
        let key = "a\u{0}b\\u0000c";
        let json = serde_json::to_string(key).expect("text is JSON");
        let column: String = serde_json::from_str(&without_nul(&json)).expect("still JSON");
        assert_eq!(as_stored(key), column);
    }
}
