//! Initials and badge colour, derived from name and e-mail: always the same for the same person (ID-1).

/// The badge colours, as names for a style sheet.
pub const COLORS: [&str; 8] = [
    "red", "orange", "amber", "green", "teal", "blue", "violet", "pink",
];

/// One or two capital letters: of first and last name, else of what stands before the `@`.
#[must_use]
pub fn initials(first_name: Option<&str>, last_name: Option<&str>, email: &str) -> String {
    let first = |text: Option<&str>| text.and_then(|text| text.trim().chars().next());
    let mut letters: Vec<char> = [first(first_name), first(last_name)]
        .into_iter()
        .flatten()
        .collect();
    if letters.is_empty() {
        letters.extend(email.chars().find(|letter| letter.is_alphanumeric()));
    }
    letters.into_iter().flat_map(char::to_uppercase).collect()
}

/// One of [`COLORS`], by the FNV-1a hash of the lower-case address.
#[must_use]
pub fn color(email: &str) -> &'static str {
    let hash = email
        .to_lowercase()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    COLORS[usize::try_from(hash >> 61).unwrap_or_default() % COLORS.len()]
}

#[cfg(test)]
mod tests {
    use super::{color, initials};

    /// ID-1
    #[test]
    fn initials_come_from_the_name_or_else_the_address() {
        assert_eq!(initials(Some("ada"), Some("Lovelace"), "x@y.z"), "AL");
        assert_eq!(initials(None, Some(" "), "grace@navy.mil"), "G");
    }

    /// ID-1
    #[test]
    fn the_color_does_not_depend_on_case() {
        assert_eq!(color("Ada@Example.org"), color("ada@example.org"));
    }
}
