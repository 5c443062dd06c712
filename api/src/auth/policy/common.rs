//! Whether a password is too common.
//!
//! One rule: people dress the same few words up in the same few ways, so each password is undressed in those
//! ways (case, digits and marks around it, letters written as digits, said twice, spelled backwards) and what
//! is left is looked up in the shipped list.

use super::COMMON;

/// Rows of keyboards and runs of characters along which fingers walk.
const WALKS: [&str; 14] = [
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiopü",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "!@#$%^&*()",
    "147258369",
];

/// The most digits and marks around a word, both ends together, that are taken for decoration.
const MAX_DECORATION: usize = 8;

/// Whether a guesser's first tries would find it.
pub(super) fn is_common(typed: &str) -> bool {
    let lower = typed.trim().to_lowercase();
    if is_monotonous(&lower) || is_walk(&lower) {
        return true;
    }
    let unit = repeated_unit(&lower);
    let halves = [lower.as_str(), unit];
    halves
        .into_iter()
        .any(|text| spellings(text).iter().any(|spelling| listed_or_walk(spelling)))
}

/// A text in all the ways in which its decoration can be taken off, from what it is to its bare letters.
fn spellings(text: &str) -> Vec<String> {
    let joined: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '_' | '.'))
        .collect();
    let mut all = Vec::new();
    for base in [text, joined.as_str()] {
        for word in [base.to_owned(), plain_letters(base)] {
            all.push(undecorated(&word).to_owned());
            all.push(word);
        }
        all.push(plain_letters(undecorated(base)));
    }
    let backwards: Vec<String> = all.iter().map(|word| word.chars().rev().collect()).collect();
    all.extend(backwards);
    all
}

fn listed_or_walk(text: &str) -> bool {
    COMMON.contains(text) || COMMON.contains(repeated_unit(text)) || is_walk(text)
}

/// Letters that were written as the digits and marks that look like them.
fn plain_letters(text: &str) -> String {
    let plain = |c| match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        '9' => 'g',
        other => other,
    };
    text.chars().map(plain).collect()
}

/// The text without a few digits and marks before and after it.
fn undecorated(text: &str) -> &str {
    let inner = text.trim_matches(|c: char| !c.is_alphabetic());
    let decoration = text.chars().count() - inner.chars().count();
    if inner.is_empty() || decoration > MAX_DECORATION {
        text
    } else {
        inner
    }
}

/// The shortest piece that, said twice or more, is the text (`abab` → `ab`); else the text itself.
fn repeated_unit(text: &str) -> &str {
    let unit = (1..=text.len() / 2).filter(|&at| text.is_char_boundary(at) && text.len().is_multiple_of(at));
    unit.map(|at| &text[..at])
        .find(|unit| unit.repeat(text.len() / unit.len()) == text)
        .unwrap_or(text)
}

/// At most three different characters.
fn is_monotonous(text: &str) -> bool {
    let mut seen: Vec<char> = Vec::with_capacity(4);
    for c in text.chars() {
        if !seen.contains(&c) {
            seen.push(c);
        }
        if seen.len() > 3 {
            return false;
        }
    }
    true
}

/// Whether it consists of at most three walks of three or more steps each, in either direction.
fn is_walk(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let (mut at, mut walks) = (0, 0);
    while at < characters.len() {
        let steps = longest_walk(&characters[at..]);
        if steps < 3 || walks == 3 {
            return false;
        }
        at += steps;
        walks += 1;
    }
    walks > 0
}

/// How many characters from the start follow one walk (`0` comes after `9`, `a` after `z`).
fn longest_walk(characters: &[char]) -> usize {
    let along = |walk: &[char]| {
        let starts = walk
            .iter()
            .enumerate()
            .filter(|(_, c)| Some(*c) == characters.first());
        let length = |(start, _): (usize, &char)| {
            let path = walk.iter().cycle().skip(start);
            characters
                .iter()
                .zip(path)
                .take_while(|(typed, step)| typed == step)
                .count()
        };
        starts.map(length).max().unwrap_or(0)
    };
    let both = |walk: &str| {
        let forwards: Vec<char> = walk.chars().collect();
        let backwards: Vec<char> = walk.chars().rev().collect();
        along(&forwards).max(along(&backwards))
    };
    WALKS.iter().map(|walk| both(walk)).max().unwrap_or(0)
}
