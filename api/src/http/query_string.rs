//! Query strings, before they are taken apart.
//!
//! One rule: a text is taken as it was sent or not at all. The decoders in use put U+FFFD in the place of bytes that are
//! not UTF-8, so those are refused before.

/// Whether what is encoded in a query string is text in UTF-8.
pub(super) fn is_utf8(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let (byte, behind) = escaped(rest).unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// The byte that `%12` at the start of a text stands for, and what comes behind.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, behind) = text.strip_prefix(b"%")?.split_at_checked(2)?;
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some((digit(digits[0])? << 4 | digit(digits[1])?, behind))
}

#[cfg(test)]
mod tests {
    use super::is_utf8;

    #[test]
    fn bytes_that_are_not_utf8_are_found() {
        for text in [
            "",
            "a=b",
            "a=%C3%A9",
            "a=%c3%a9+%25",
            "a=%",
            "a=%4",
            "a=%zz",
            "a=\u{e9}",
        ] {
            assert!(is_utf8(text), "{text}");
        }
        for text in ["a=%FF", "%C3=a", "a=%C3&b=%A9", "a=%ED%A0%80"] {
            assert!(!is_utf8(text), "{text}");
        }
    }
}
