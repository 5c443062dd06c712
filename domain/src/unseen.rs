//! Characters that are not shown, by which two texts that look the same may differ.
//!
//! The rule: they are those that Unicode lets fonts ignore (`Default_Ignorable_Code_Point`), allowed only where they
//! change how their neighbours look: joiners within words and emoji, variation selectors, the tags of flags.

/// Whether something is seen where `letter` stands.
#[must_use]
pub fn is_visible(letter: char) -> bool {
    // U+2800 is the pattern of Braille without a dot.
    !(letter.is_whitespace() || letter.is_control() || is_ignorable(letter) || letter == '\u{2800}')
}

/// The first character of `text` that is not shown and does not belong where it stands, with its place from 1.
#[must_use]
pub fn unseen(text: &str) -> Option<(usize, char)> {
    let mut before: Option<char> = None;
    let mut letters = text.chars().zip(1..).peekable();
    while let Some((letter, place)) = letters.next() {
        let after = letters.peek().map(|(after, _)| *after);
        if is_ignorable(letter) && !belongs(before, letter, after) {
            return Some((place, letter));
        }
        before = Some(letter);
    }
    None
}

/// Whether an ignorable `letter` shapes its neighbours.
fn belongs(before: Option<char>, letter: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    match letter {
        '\u{200c}' | '\u{200d}' => {
            (is_visible(before) || is_selector(before)) && after.is_some_and(is_visible)
        }
        letter if is_selector(letter) => is_visible(before),
        // A flag is a black one with the letters of its region and an end.
        letter if is_tag(letter) => before == '\u{1f3f4}' || is_tag(before),
        _ => false,
    }
}

fn is_selector(letter: char) -> bool {
    matches!(letter, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

fn is_tag(letter: char) -> bool {
    matches!(letter, '\u{e0020}'..='\u{e007f}')
}

/// `Default_Ignorable_Code_Point` (Unicode 16, `DerivedCoreProperties.txt`), and the marks of interlinear annotation.
fn is_ignorable(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
