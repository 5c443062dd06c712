//! What texts may look like, the same everywhere, and how they are shown.
//!
//! The rule goes by the kind of text. Names and reasons stand on one line, and what is in them is seen: control
//! characters, characters that turn the direction of writing around, and those that are not shown ([`unseen`]) are
//! refused, and a name has at least one visible character. Descriptions have lines. Prompts and samples are data, kept
//! as they are. Whatever is written to a terminal or a text log, of any kind, goes through [`printable`].

use std::borrow::Cow;

use crate::problems::Problems;

pub use crate::unseen::{is_visible, unseen};

/// A text that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TextProblem {
    /// The field, as the input calls it.
    pub field: &'static str,
    /// What is wrong and what would fit.
    pub message: String,
}

/// Everything that does not fit, at once.
pub type TextProblems = Problems<TextProblem>;

/// Name and description, trimmed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// See [`name`].
    pub name: String,
    /// See [`description`].
    pub description: String,
}

impl Label {
    /// Checks both texts.
    ///
    /// # Errors
    /// Every problem of both.
    pub fn try_new(given_name: &str, given_description: &str) -> Result<Self, TextProblems> {
        match (name(given_name), description(given_description)) {
            (Ok(name), Ok(description)) => Ok(Self { name, description }),
            (name, description) => Err(Problems(
                [name.err(), description.err()].into_iter().flatten().collect(),
            )),
        }
    }
}

/// A name: trimmed, 1 to 100 characters, at least one of them visible, none of them [`unseen`].
///
/// # Errors
/// When it does not fit.
pub fn name(text: &str) -> Result<String, TextProblem> {
    fit("name", text, 1, 100, false)
}

/// What a person or organization is called, under the name `field` of its input: as [`name`].
///
/// # Errors
/// When it does not fit.
pub fn called(field: &'static str, text: &str) -> Result<String, TextProblem> {
    fit(field, text, 1, 100, false)
}

/// The name that a file had where it comes from, without folders: trimmed, at most 255 characters, none of them
/// [`unseen`], `/` or `\`, and not `.` or `..`; may be empty. It is a label: nothing is stored under it here, but a
/// client may save under it.
///
/// # Errors
/// When it does not fit.
pub fn file_name(text: &str) -> Result<String, TextProblem> {
    let name = fit("fileName", text, 0, FILE_NAME, false)?;
    let is_path = name.contains(['/', '\\']) || matches!(name.as_str(), "." | "..");
    match is_path {
        true => Err(TextProblem {
            field: "fileName",
            message: "the fileName is a path; give the file's own name, without folders".to_owned(),
        }),
        false => Ok(name),
    }
}

/// Longest name of a file, in characters: what file systems allow in bytes.
const FILE_NAME: usize = 255;

/// A description: trimmed, at most 2,000 characters, line breaks allowed.
///
/// # Errors
/// When it does not fit.
pub fn description(text: &str) -> Result<String, TextProblem> {
    fit("description", text, 0, 2_000, true)
}

/// Why somebody did something: trimmed, at most 500 characters on one line; may be empty.
///
/// # Errors
/// When it does not fit.
pub fn reason(text: &str) -> Result<String, TextProblem> {
    fit("reason", text, 0, REASON, false)
}

/// Longest reason, in characters.
const REASON: usize = 500;

/// Whether a terminal obeys `letter` instead of showing it: control characters (C0, DEL, C1), the characters that
/// steer the direction of writing (Unicode's `Bidi_Control`), and separators of lines and paragraphs.
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || turns(letter)
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
        )
}

/// Whether `letter` opens or closes a stretch that is written in another direction, so that what follows it is
/// shown in another place. Marks of direction, which only help mixed texts, do not.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` as it is safe on a terminal: what [`steers`] is written as its code, `\u001b`, which also stays valid
/// within JSON. Line feeds and tabs stay; for text from elsewhere that belongs on one line there is [`on_one_line`].
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| !matches!(letter, '\n' | '\t') && steers(letter))
}

/// As [`printable`], with line feeds written as `\n`.
#[must_use]
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| letter != '\t' && steers(letter))
}

fn escaped(text: &str, escapes: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&escapes) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if !escapes(letter) => shown.push(letter),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            letter => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
        }
    }
    Cow::Owned(shown)
}

/// The first character, with its place from 1, that is not to be in a text with or without `lines`.
fn steering(text: &str, lines: bool) -> Option<(usize, char)> {
    let kept = |letter: char| lines && matches!(letter, '\n' | '\r' | '\t');
    (1..).zip(text.chars()).find(|(_, letter)| {
        !kept(*letter) && (letter.is_control() || turns(*letter) || matches!(letter, '\u{2028}' | '\u{2029}'))
    })
}

fn fit(field: &'static str, text: &str, min: usize, max: usize, lines: bool) -> Result<String, TextProblem> {
    let text = text.trim();
    let length = text.chars().count();
    if length < min {
        return Err(TextProblem {
            field,
            message: format!("the {field} must not be empty"),
        });
    }
    if length > max {
        let message = format!("the {field} has {length} characters; at most {max} are allowed");
        return Err(TextProblem { field, message });
    }
    let steering = steering(text, lines).map(|found| (found, "control"));
    let refused = steering.or_else(|| match lines {
        true => None,
        false => unseen(text).map(|found| (found, "invisible")),
    });
    if let Some(((place, letter), kind)) = refused {
        let code = u32::from(letter);
        let message = format!(
            "character {place} of the {field} is the {kind} character U+{code:04X}, which is not allowed there"
        );
        return Err(TextProblem { field, message });
    }
    if min > 0 && !text.chars().any(is_visible) {
        let message = format!("the {field} has no visible character");
        return Err(TextProblem { field, message });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{description, file_name, name, on_one_line, printable, reason, steers};

    /// FR14: what steers a terminal, by its classes.
    const STEERING: [char; 17] = [
        '\0', '\u{7}', '\u{8}', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{61c}', '\u{200e}',
        '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{2028}', '\u{2029}',
    ];

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        for letter in STEERING {
            let text = format!("a{letter}b\n");
            let shown = printable(&text);
            assert!(!shown.trim_end().chars().any(steers), "{shown:?}");
            assert!(
                shown.ends_with('\n') && !on_one_line(&text).contains('\n'),
                "{shown:?}"
            );
        }
        assert_eq!(printable("\u{1b}[2J\u{202e}x\ry"), "\\u001b[2J\\u202ex\\ry");
        assert_eq!(on_one_line("a\nb"), "a\\nb");
        let plain = "Grüße, 日本語 — שלום 👩‍🔬";
        assert!(matches!(printable(plain), std::borrow::Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = "\u{7f}\u{9b}\u{202e}\u{2028}\u{1b}";
        let json = serde_json::to_string_pretty(&serde_json::json!({ "text": text })).expect("JSON");
        let back: serde_json::Value = serde_json::from_str(&printable(&json)).expect("still JSON");
        assert_eq!(back["text"], text);
    }

    #[test]
    fn names_and_reasons_stand_on_one_line_and_say_what_does_not_fit() {
        for letter in [
            '\u{1b}', '\r', '\n', '\t', '\u{7}', '\u{7f}', '\u{85}', '\u{202e}', '\u{2028}',
        ] {
            let text = format!("ab{letter}c");
            for problem in [name(&text).err(), reason(&text).err()] {
                let problem = problem.unwrap_or_else(|| panic!("{text:?} is refused"));
                let wanted = format!("character 3 of the {} is the control character U+", problem.field);
                assert!(problem.message.starts_with(&wanted), "{problem}");
                assert!(!problem.message.chars().any(steers), "{problem:?}");
            }
        }
        assert_eq!(reason(" left  ").as_deref(), Ok("left"));
        assert!(reason(&"x".repeat(501)).is_err());
    }

    #[test]
    fn a_name_is_seen() {
        let fillers = [
            '\u{200b}',
            '\u{115f}',
            '\u{61c}',
            '\u{feff}',
            '\u{e0001}',
            '\u{ad}',
            '\u{3164}',
            '\u{200f}',
        ];
        for letter in fillers {
            for text in [
                letter.to_string(),
                format!("a{letter}b"),
                format!("{letter}{letter}a"),
            ] {
                let problem = name(&text).expect_err("it would look like another name");
                let wanted = format!("is the invisible character U+{:04X}", u32::from(letter));
                assert!(problem.message.contains(&wanted), "{text:?}: {problem}");
                assert!(reason(&text).is_err(), "{text:?}");
            }
        }
        for empty in ["\u{a0}", "\u{3000}", "\u{2800}", "\u{2800} \u{2800}"] {
            assert!(name(empty).is_err(), "{empty:?}");
        }
        for good in [
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}🔬",
            "❤\u{fe0f}\u{200d}🔥",
            "葛\u{e0100}城",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            "...",
            "é",
            "日本語",
        ] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in [
            "\u{200d}a",
            "a\u{200d}",
            "a\u{200c}\u{200d}b",
            "\u{fe0f}a",
            "a \u{200c}b",
            "a\u{e0067}",
        ] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_name_of_a_file_is_no_path() {
        for bad in [
            "..",
            ".",
            "../../x.txt",
            "a/b",
            "c:\\x.txt",
            "/etc/passwd",
            "a\u{202e}b",
        ] {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
        for good in ["", "a.txt", "..a", "a b..jsonl"] {
            assert_eq!(file_name(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn descriptions_have_lines() {
        assert_eq!(description("one\n\ttwo\r\n3").as_deref(), Ok("one\n\ttwo\r\n3"));
        assert!(description("a\u{1b}b").is_err());
    }
}
